"""Logs: one line an event, as JSON for machines or in colour-free columns for people, each with its request id."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from time import monotonic

from service.settings import Settings

Kind = tuple[object, ...]

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)


def configure(settings: Settings, worker: int | None = None) -> None:
    """One of several processes says in each line which it is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else ConsoleLines())
    if settings.log_rate:
        handler.addFilter(Sampling(settings.log_rate))
    if worker is not None:
        handler.addFilter(Numbered(worker))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for chatty in ("alembic", "_cygrpc"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


class Numbered(logging.Filter):
    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.fields = {"worker": self._worker, **getattr(record, "fields", {})}
        return True


class Sampling(logging.Filter):
    """Lets so many lines of a kind through in a second. The first of a later second says how many were left out."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._second = 0
        self._seen: Counter[Kind] = Counter()
        self._left_out: Counter[Kind] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """The handler's lock is not held here: two threads may miscount by one, which does no harm."""
        self._begin(int(self._clock()))
        kind = _kind(record)
        self._seen[kind] += 1
        if self._seen[kind] > self._most:
            self._left_out[kind] += 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
        return True

    def leaves_out(self, kind: Kind) -> bool:
        """Whether a line of a kind would not get through; it is counted as left out, and need not be made."""
        self._begin(int(self._clock()))
        if self._seen[kind] < self._most:
            return False
        self._left_out[kind] += 1
        return True

    def _begin(self, second: int) -> None:
        if second != self._second:
            self._second = second
            self._seen.clear()


def left_out(kind: Kind) -> bool:
    """Whether nobody would write a further line of a kind: its logger, level, message, method, code and reason."""
    handlers = logging.getLogger().handlers
    return bool(handlers) and all(_leaves_out(handler, kind) for handler in handlers)


def _leaves_out(handler: logging.Handler, kind: Kind) -> bool:
    return any(isinstance(each, Sampling) and each.leaves_out(kind) for each in handler.filters)


def _kind(record: logging.LogRecord) -> Kind:
    """Lines that tell of the same thing, as far as can be seen without reading them."""
    fields = getattr(record, "fields", {})
    return record.name, record.levelno, record.msg, fields.get("method"), fields.get("code"), fields.get("reason")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": REQUEST_ID.get(),
            **_trace(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _trace() -> dict[str, str]:
    trace = TRACE_ID.get()
    return {} if trace is None else {"trace_id": trace}


class ConsoleLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        head = f"{_moment(record):%H:%M:%S} {record.levelname.lower():7} {record.getMessage()}"
        line = " ".join(part for part in (head, fields, f"[{REQUEST_ID.get()}]") if part)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
