import click
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from service import migrations, revisions
from service.cli.settings import database_url, load


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to migrate up to.")
@click.option(
    "--ledger", is_flag=True, help="Only the tables in which writes are remembered, beside whatever is there."
)
@click.option("--roles", is_flag=True, help="Only the roles and their grants, once more: for roles made since.")
def migrate(revision: str, ledger: bool, roles: bool) -> None:
    """Bring the database's schema up to date.

    Safe to run again, and from several places at once: one works, the others wait and find nothing left to do.

    A database whose tables are all its own needs none of it, unless they are to be written to: with --ledger it gets
    the two tables in which requests and imports are remembered, and nothing else.
    """
    if ledger + roles + (revision != "head") > 1:
        raise click.UsageError("--to is for migrations; --ledger and --roles each do one thing beside them")
    url = database_url(load())
    try:
        if ledger:
            migrations.upgrade_ledger(url)
        elif roles:
            migrations.upgrade_roles(url)
        else:
            migrations.upgrade(url, revision)
    except (CommandError, DBAPIError) as error:
        raise click.ClickException(str(error).partition("\n")[0]) from None
    click.echo(_done(revision, ledger, roles))


def _done(revision: str, ledger: bool, roles: bool) -> str:
    if ledger:
        return "The ledger is there."
    if roles:
        return "The roles have what they need."
    return f"The schema is at {_reached(revision)}."


def _reached(revision: str) -> str:
    return revisions.head_revision() if revision == "head" else revision
