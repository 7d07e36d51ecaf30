"""Who is calling, and what they may do: a value of the call's own context, so that no part need hand it on."""

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import Self

from service.errors import PermissionDenied, Reason


class Scope(StrEnum):
    """What a grant allows. ADMIN is all three; READ and WRITE do not imply each other."""

    READ = "spatial.read"
    WRITE = "spatial.write"
    ADMIN = "spatial.admin"


_SATISFIED_BY: Mapping[Scope, tuple[Scope, ...]] = {
    Scope.READ: (Scope.READ, Scope.ADMIN),
    Scope.WRITE: (Scope.WRITE, Scope.ADMIN),
    Scope.ADMIN: (Scope.ADMIN,),
}


@dataclass(frozen=True, slots=True)
class Grants:
    """Which layers each scope covers: what matches its expression."""

    _layers: Mapping[Scope, re.Pattern[str]]

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        """From words such as `spatial.read` (every layer) and `spatial.write:public.*`; others are not ours."""
        patterns: dict[Scope, list[str]] = {}
        for word in words:
            scope, _, pattern = word.partition(":")
            if scope in tuple(Scope):
                patterns.setdefault(Scope(scope), []).append(translate(pattern if ":" in word else "*"))
        return cls({scope: re.compile("|".join(each)) for scope, each in patterns.items()})

    def __bool__(self) -> bool:
        return bool(self._layers)

    def has(self, scope: Scope) -> bool:
        """Whether there is any layer that it covers."""
        return any(each in self._layers for each in _SATISFIED_BY[scope])

    def cover(self, scope: Scope, layer: str) -> bool:
        return any(
            each in self._layers and self._layers[each].match(layer) is not None for each in _SATISFIED_BY[scope]
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credentials were accepted."""

    name: str
    grants: Grants = field(repr=False)


PRINCIPAL: ContextVar[Principal | None] = ContextVar("principal", default=None)


@dataclass(frozen=True, slots=True)
class Access:
    """What a call may do: what its caller was granted, as far as its RPC needs it."""

    grants: Grants
    scope: Scope

    def covers(self, layer: str) -> bool:
        return self.grants.cover(self.scope, layer)

    def check(self, layer: str, scope: Scope | None = None) -> None:
        """Raises unless `layer` is covered: by what the RPC needs, or by another scope. It says nothing of whether
        there is such a layer."""
        needed = scope or self.scope
        if not self.grants.cover(needed, layer):
            raise PermissionDenied(
                Reason.LAYER_NOT_ALLOWED,
                f"these credentials do not cover layer {layer[:80]!r}: {needed} is needed on it",
                metadata={"layer": layer[:80], "scope": f"{needed}:{layer[:80]}"},
            )


ACCESS: ContextVar[Access | None] = ContextVar("access", default=None)
"""Unset outside calls, and in all calls of a server without authentication."""
