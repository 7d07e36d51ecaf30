"""The settings, with a readable complaint where they are wrong."""

import click
from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from service.settings import Settings


def load() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"  SPATIAL_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in error.errors()
        ]
        raise click.ClickException("\n".join(["these settings cannot be used:", *problems])) from None


def database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise click.ClickException(
            "no database: set SPATIAL_DATABASE_URL to postgresql://user:password@host:5432/database, "
            "or try `spatial serve --embedded .local --demo`"
        )
    url = settings.database_url.get_secret_value()
    try:
        make_url(url)
    except ArgumentError:
        raise click.ClickException(
            "SPATIAL_DATABASE_URL is not of the form postgresql://user:password@host:5432/database"
        ) from None
    return url
