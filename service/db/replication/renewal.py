"""Lets pools begin anew where another server has become the primary: older connections may lead to the last one."""

from collections.abc import Iterable
from time import monotonic
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

_BORN = "spatial_born"


class Renewal:
    """Of the pools of these engines, by `renew`, from any thread: no connection that was made before is used again."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._since = monotonic()
        for engine in engines:
            event.listen(engine, "connect", self._connected)
            event.listen(engine, "checkout", self._checked_out)

    def renew(self) -> None:
        self._since = monotonic()

    def _connected(self, connection: Any, record: Any) -> None:
        record.info[_BORN] = monotonic()

    def _checked_out(self, connection: Any, record: Any, proxy: Any) -> None:
        if record.info.get(_BORN, self._since) < self._since:
            raise InvalidatePoolError
