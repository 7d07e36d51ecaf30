"""How rows go into a layer."""

from typing import NamedTuple

from service.changes import Importing


class Manner(NamedTuple):
    """`match` is the property that tells which feature a row is about, in place of its key; `fresh` says that the table
    has just been made for the rows."""

    mode: Importing
    match: str | None
    repair: bool
    dry_run: bool
    fresh: bool = False
