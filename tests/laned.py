"""Lanes over a database, for as long as a test needs them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from service.db.canceller import Canceller
from service.db.engine import Pool, control_engine
from service.db.lanes import Lanes
from service.observability.metrics import Metrics
from service.settings import Settings

PoolOf = Callable[[Settings, str, Metrics], Pool]
LanesOf = Callable[[Pool, Canceller, Settings, Metrics], Lanes]


@asynccontextmanager
async def lanes_over(url: str, pool_of: PoolOf, lanes_of: LanesOf) -> AsyncIterator[Lanes]:
    settings, metrics = Settings(), Metrics(CollectorRegistry())
    pool, control = pool_of(settings, url, metrics), control_engine(settings, url)
    canceller = Canceller(control, metrics)
    lanes = lanes_of(pool, canceller, settings, metrics)
    try:
        yield lanes
    finally:
        await lanes.close()
        canceller.close()
        pool.engine.dispose()
        control.dispose()
