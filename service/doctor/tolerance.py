"""How much is left unsaid."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tolerance:
    bloat_bytes: int = 16 * MIB  # that an index is too large by
    bloat_factor: float = 3.0
    changed_rows: int = 1000
    changed_share: float = 0.2  # of a table, since it was last analysed
    idle_seconds: float = 30.0  # in a transaction
    blocked_seconds: float = 2.0
    scanned_rows: int = 10_000  # by a search that should have gone through an index
