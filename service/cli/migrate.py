import click
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from service import migrations
from service.cli.settings import database_url, load


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to migrate up to.")
@click.option(
    "--ledger", is_flag=True, help="Only the tables in which writes are remembered, beside whatever is there."
)
def migrate(revision: str, ledger: bool) -> None:
    """Bring the database's schema up to date.

    Safe to run again, and from several places at once: one works, the others wait and find nothing left to do.

    A database whose tables are all its own needs none of it, unless they are to be written to: with --ledger it gets
    the two tables in which requests and imports are remembered, and nothing else.
    """
    if ledger and revision != "head":
        raise click.UsageError("--to is for migrations, and --ledger makes tables beside them")
    url = database_url(load())
    try:
        migrations.upgrade_ledger(url) if ledger else migrations.upgrade(url, revision)
    except (CommandError, DBAPIError) as error:
        raise click.ClickException(str(error).partition("\n")[0]) from None
    click.echo("The ledger is there." if ledger else f"The schema is at {_reached(revision)}.")


def _reached(revision: str) -> str:
    return migrations.head_revision() if revision == "head" else revision
