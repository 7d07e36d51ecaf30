"""The libraries that write files are imported when they are needed: a server does without some of them."""

from importlib import import_module
from typing import Any

import click


def needed(module: str) -> Any:
    """The module; where it is not installed, a complaint that says how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f'{error.name} is not installed; it comes with `pip install "spatial-service[export]"`'
        ) from None
