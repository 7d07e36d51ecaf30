import click
from pydantic import SecretStr
from sqlalchemy.exc import ArgumentError

from service.cli.settings import load
from service.db.address import addresses, masked
from service.settings import Settings


@click.command()
@click.option("--explain", is_flag=True, help="Say what each setting is for.")
def config(explain: bool) -> None:
    """Print every setting, as in effect, with secrets masked.

    A setting is an environment variable of the name printed. `=` marks a default, `*` what the environment has set.
    """
    settings = load()
    for name, field in Settings.model_fields.items():
        mark = "*" if name in settings.model_fields_set else "="
        click.echo(f"{mark} SPATIAL_{name.upper()}={_shown(getattr(settings, name))}")
        if explain:
            click.echo(f"    {field.description}")


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        try:
            return " ".join(map(masked, addresses(value.get_secret_value())))
        except ArgumentError:
            return "*** (not a URL)"
    return "" if value is None else str(value)
