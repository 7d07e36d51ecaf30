"""The settings, with a readable complaint where they are wrong."""

import click
from pydantic import ValidationError

from service.settings import Settings


def load() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"  {_named(problem['loc'])}{problem['msg']}" for problem in error.errors()]
        raise click.ClickException("\n".join(["these settings cannot be used:", *problems])) from None


def _named(location: tuple[int | str, ...]) -> str:
    """Nothing where settings are wrong together."""
    return f"SPATIAL_{'_'.join(map(str, location)).upper()}: " if location else ""


def database_url(settings: Settings) -> str:
    from service.db.address import addresses  # SQLAlchemy, which `spatial health` does without

    if settings.database_url is None:
        raise click.ClickException(
            "no database: set SPATIAL_DATABASE_URL to postgresql://user:password@host:5432/database, "
            "or try `spatial serve --embedded .local --demo`"
        )
    url = settings.database_url.get_secret_value()
    _check("SPATIAL_DATABASE_URL", url)
    for replica in addresses(settings.replica_urls.get_secret_value()):
        _check("SPATIAL_REPLICA_URLS", replica)
    return url


def _check(name: str, url: str) -> None:
    from sqlalchemy.exc import ArgumentError

    from service.db.address import parsed

    try:
        parsed(url)
    except ArgumentError:
        raise click.ClickException(f"{name} is not of the form postgresql://user:password@host:5432/database") from None
