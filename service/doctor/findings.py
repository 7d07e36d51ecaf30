"""What an examination brings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple


class Severity(IntEnum):
    """The numbers are the contract's."""

    INFO = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """`layer` is empty for the database as a whole, `statement` where no SQL would mend it."""

    severity: Severity
    kind: str
    message: str
    layer: str = ""
    statement: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class SettingInEffect(NamedTuple):
    """A setting of the session; `recommended` is empty if it may stay as it is."""

    name: str
    value: str
    recommended: str


class Timing(NamedTuple):
    """How long a small search took in the database, and the index that served it, if any."""

    layer: str
    milliseconds: float
    by_index: str


@dataclass(frozen=True, slots=True)
class Examination:
    findings: Sequence[Finding]
    versions: Mapping[str, str]
    settings: Sequence[SettingInEffect]
    timings: Sequence[Timing]


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (-finding.severity, finding.layer, finding.kind))
