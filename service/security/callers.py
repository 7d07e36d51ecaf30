"""The file of callers: who has which static token, or which certificate, and what they may do.

callers:
  - name: billing
    token: sha256:5e88…        # what `spatial token billing` prints; or the token itself
    scopes: spatial.read spatial.write:parcels
    expires: 2027-01-31        # optional
  - name: tiles
    certificate: tiles.internal
    scopes: spatial.read:public.*
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from service.access import Grants, Principal, Scope
from service.errors import Reason, Unauthenticated
from service.security.errors import SecurityProblem
from service.security.watch import Watch, contents

SETTING = "SPATIAL_TOKENS_FILE"
DIGEST = "sha256:"
SHORTEST_TOKEN = 20
_FIELDS = {"name", "token", "certificate", "scopes", "expires"}


class Caller(NamedTuple):
    principal: Principal
    expires: datetime | None

    def checked(self) -> Principal:
        if self.expires is not None and datetime.now(UTC) >= self.expires:
            raise Unauthenticated(Reason.EXPIRED_CREDENTIALS, "this token or certificate is good no more")
        return self.principal


class Listed(NamedTuple):
    """The callers of a file by the digests of their tokens, and by the names in their certificates."""

    tokens: Mapping[bytes, Caller]
    certificates: Mapping[str, Caller]


class Callers:
    def __init__(self, path: Path, watch: Watch) -> None:
        self._path = path
        self._listed = Listed({}, {})
        watch.add([path], self._read)

    def with_token(self, digest: bytes) -> Principal | None:
        """Whose token has this digest. Tokens themselves are compared nowhere, and nobody can choose what a token's
        digest begins with to find out how far it agrees: the time that this takes tells nothing."""
        caller = self._listed.tokens.get(digest)
        return None if caller is None else caller.checked()

    def with_certificate(self, names: Sequence[str]) -> Principal | None:
        """Whose certificate is in one of these names."""
        caller = next((self._listed.certificates[name] for name in names if name in self._listed.certificates), None)
        return None if caller is None else caller.checked()

    def _read(self) -> None:
        self._listed = read_callers(contents(self._path, SETTING), self._path.suffix)


def token_digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def read_callers(data: bytes, suffix: str) -> Listed:
    listed = Listed({}, {})
    for number, entry in enumerate(_entries(data, suffix), 1):
        try:
            _add(listed, entry)
        except SecurityProblem as problem:
            raise SecurityProblem(f"{SETTING}: caller {number}: {problem}") from None
    return listed


def _entries(data: bytes, suffix: str) -> Sequence[Any]:
    """Parsers quote what they stumble on, which may be a token: only its line is told."""
    try:
        parsed = tomllib.loads(data.decode()) if suffix == ".toml" else yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:
        line = re.search(r"\bline (\d+)", str(error))
        kind = "TOML" if suffix == ".toml" else "YAML"
        raise SecurityProblem(f"{SETTING} is no {kind}{f': look at line {line[1]}' if line else ''}") from None
    entries = parsed.get("callers") if isinstance(parsed, dict) and set(parsed) == {"callers"} else None
    if not isinstance(entries, list):
        raise SecurityProblem(f"{SETTING} must have a list `callers`, and nothing else")
    return entries


def _add(listed: Listed, entry: Any) -> None:
    if not isinstance(entry, dict) or not set(entry) <= _FIELDS:
        raise SecurityProblem(f"it has other fields than {', '.join(sorted(_FIELDS))}")
    caller = Caller(Principal(_text(entry, "name"), _grants(entry)), _expiry(entry))
    if ("token" in entry) == ("certificate" in entry):
        raise SecurityProblem("it needs a token or a certificate, and not both")
    known: Any = listed.tokens if "token" in entry else listed.certificates
    key = _digest(_text(entry, "token")) if "token" in entry else _text(entry, "certificate")
    if key in known:
        raise SecurityProblem("another one has the same token or certificate")
    known[key] = caller


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise SecurityProblem(f"its {name} must be a text")
    return value


def _digest(token: str) -> bytes:
    if not token.startswith(DIGEST):
        if len(token) < SHORTEST_TOKEN:
            raise SecurityProblem(f"its token is shorter than {SHORTEST_TOKEN} characters: `spatial token` makes one")
        return token_digest(token)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", token.removeprefix(DIGEST)):
        raise SecurityProblem(f"what follows on {DIGEST} must be 64 hexadecimal digits")
    return bytes.fromhex(token.removeprefix(DIGEST))


def _grants(entry: Mapping[str, Any]) -> Grants:
    given = entry.get("scopes")
    return read_scopes(" ".join(map(str, given)) if isinstance(given, list) else str(given or ""))


def read_scopes(text: str) -> Grants:
    """Scopes that somebody wrote down for this service: a word that is none is a mistake."""
    words = text.split()
    wrong = [word for word in words if word.partition(":")[0] not in tuple(Scope) or word.endswith(":")]
    if wrong or not words:
        known = ", ".join(Scope)
        raise SecurityProblem(f"scopes are {known}, each perhaps with :PATTERN, not {' '.join(wrong)[:80]!r}")
    return Grants.of(words)


def _expiry(entry: Mapping[str, Any]) -> datetime | None:
    given = entry.get("expires")
    if given is None:
        return None
    if isinstance(given, date) and not isinstance(given, datetime):
        given = datetime.combine(given, time())
    if not isinstance(given, datetime):
        raise SecurityProblem("its expires must be a date, or a date and time")
    return given if given.tzinfo else given.replace(tzinfo=UTC)
