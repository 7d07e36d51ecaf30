"""Engines and their pools: how a session with PostgreSQL is set up, and what is counted of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import URL, Engine, QueuePool, create_engine, event

from service.db.address import parsed
from service.db.cancel import make_cancellable
from service.db.liveness import check_connections
from service.db.pooler import connecting
from service.db.turnstile import Turnstile
from service.observability.metrics import Metrics
from service.settings import Settings

READ_POOL = "read"
BULK_POOL = "bulk"
WRITE_POOL = "write"


@dataclass(frozen=True, slots=True)
class Pool:
    """An engine with what its own pool does not do: let those who wait in by turns, and give up in time."""

    name: str
    engine: Engine
    turnstile: Turnstile  # with as many places as the engine's pool has connections
    timeout: float

    @property
    def kind(self) -> str:
        """What it is for, on whichever server."""
        return self.name.partition("@")[0]


def database_url(url: str) -> URL:
    """The URL as given, with the driver that this service uses."""
    return parsed(url).set(drivername="postgresql+psycopg2")


def session_settings(settings: Settings) -> dict[str, str]:
    """What each session is told when it begins, by PostgreSQL's names."""
    return {
        "statement_timeout": _milliseconds(settings.statement_timeout),
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(settings.idle_in_transaction_timeout),
        "work_mem": settings.work_mem,
        "random_page_cost": str(settings.random_page_cost),
        "jit": "on" if settings.jit else "off",
        # The workers of a parallel plan are cores that other calls want.
        "max_parallel_workers_per_gather": "0",
        "client_encoding": "UTF8",
        # What travels as text is in ISO's form, whatever the database's own is.
        "DateStyle": "ISO",
        "IntervalStyle": "iso_8601",
        "TimeZone": "UTC",
    }


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def read_pool(settings: Settings, url: str, metrics: Metrics, replica: str = "") -> Pool:
    """For reads that end soon; of a replica, if it has a name."""
    name = _of(READ_POOL, replica)
    return _pool(settings, url, metrics, name, settings.pool_size, session_settings(settings))


def bulk_pool(settings: Settings, url: str, metrics: Metrics, replica: str = "") -> Pool:
    """For streams, which end when their readers have had everything: statement_timeout would count their pauses. Where
    a reader leaves, the connection is closed; PostgreSQL would not notice before it has more to send."""
    session = session_settings(settings) | {"statement_timeout": "0", "client_connection_check_interval": "250ms"}
    return _pool(settings, url, metrics, _of(BULK_POOL, replica), settings.bulk_pool_size, session)


def _of(kind: str, replica: str) -> str:
    return f"{kind}@{replica}" if replica else kind


def _pool(settings: Settings, url: str, metrics: Metrics, name: str, size: int, session: Mapping[str, str]) -> Pool:
    """Autocommit: a statement is its own transaction, and no connection ever idles in one."""
    engine = create_engine(
        database_url(url),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_recycle=settings.pool_recycle,
        pool_use_lifo=True,  # a quiet pool keeps few connections busy, and the rest can be told to be old
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        connect_args=_connect_args(settings, name.partition("@")[0], session),
    )
    make_cancellable(engine)
    check_connections(engine)
    _count(engine, name, metrics)
    return Pool(name, engine, Turnstile(size), settings.pool_timeout)


def write_pool(settings: Settings, url: str, metrics: Metrics) -> Pool:
    """For changes of single features, and for deletions."""
    return _pool(settings, url, metrics, WRITE_POOL, settings.write_pool_size, session_settings(settings))


def control_engine(settings: Settings, url: str) -> Engine:
    """For looking after the database and for cancelling statements: never waits behind the calls."""
    return create_engine(
        database_url(url),
        pool_size=1,
        max_overflow=2,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        connect_args=_connect_args(settings, "control", {"statement_timeout": "2s"}),
    )


def _connect_args(settings: Settings, name: str, session: Mapping[str, str]) -> dict[str, Any]:
    return told(settings, name, session) | {
        "connect_timeout": settings.connect_timeout,
        # A peer that is gone without a word (a node lost, a firewall that forgot) is noticed: in half a minute where
        # nothing is under way, in ten seconds where something is.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def told(settings: Settings, name: str, session: Mapping[str, str]) -> dict[str, Any]:
    """What makes a session of psycopg2's have these settings, and this name."""
    called = f"{settings.application_name}/{name}"
    if settings.pooler == "none":
        options = " ".join(f"-c {setting}={value}" for setting, value in session.items())
        return {"application_name": called, "options": options}
    # What a pooler keeps for its clients is the same for all of ours: else it would tell a session anew each time that
    # another pool of ours has it.
    local = {setting: value for setting, value in session.items() if setting != "client_encoding"}
    return {
        "application_name": settings.application_name,
        "client_encoding": "UTF8",
        "connection_factory": connecting({"application_name": called, **local}),
    }


class _Sessions:
    """How many sessions a pool has open; the pool itself counts the places that it may fill again."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self._lock = Lock()
        event.listen(engine, "connect", lambda *_: self._add(1))
        event.listen(engine, "close", lambda *_: self._add(-1))

    def _add(self, number: int) -> None:
        with self._lock:
            self.count += number


def _count(engine: Engine, name: str, metrics: Metrics) -> None:
    connects, invalidations = metrics.connects.labels(name), metrics.invalidations.labels(name)
    metrics.checkout.labels(name)
    metrics.pool_timeouts.labels(name)
    event.listen(engine, "connect", lambda *_: connects.inc())
    event.listen(engine, "invalidate", lambda *_: invalidations.inc())
    sessions = _Sessions(engine)
    pool = engine.pool
    assert isinstance(pool, QueuePool)

    def gauges() -> Iterable[GaugeMetricFamily]:
        in_use = pool.checkedout()
        connections = GaugeMetricFamily("spatial_pool_connections", "Connections.", labels=["pool", "state"])
        connections.add_metric([name, "in_use"], in_use)
        connections.add_metric([name, "idle"], max(0, sessions.count - in_use))
        size = GaugeMetricFamily("spatial_pool_size", "Connections allowed.", labels=["pool"])
        size.add_metric([name], pool.size())
        return connections, size

    metrics.watch(gauges)
