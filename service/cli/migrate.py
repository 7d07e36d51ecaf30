import click
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError

from service import migrations
from service.cli.settings import database_url, load


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to migrate up to.")
def migrate(revision: str) -> None:
    """Bring the database's schema up to date.

    Safe to run again, and from several places at once: one works, the others wait and find nothing left to do.
    """
    try:
        migrations.upgrade(database_url(load()), revision)
    except (CommandError, OperationalError) as error:
        raise click.ClickException(str(error).partition("\n")[0]) from None
    click.echo(f"The schema is at {migrations.head_revision() if revision == 'head' else revision}.")
