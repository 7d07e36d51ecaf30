"""Libraries that only some callers need, imported when first used."""

from importlib import import_module
from typing import Any


def need(module: str, purpose: str) -> Any:
    """The module; where it is missing, an ImportError that says what for and how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(f"{purpose} needs {module}: pip install 'spatial-service[client]'", name=module) from None
