"""One pooled connection, had for as long as a longer work goes on; another one where it was lost."""

from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case
from sqlalchemy import PoolProxiedConnection, exc

from service.db.engine import Pool
from service.observability.metrics import Metrics


class Held:
    """For one thread at a time."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._pooled: PoolProxiedConnection | None = None

    @property
    def is_open(self) -> bool:
        return self._pooled is not None

    def connection(self) -> Connection:
        """The one at hand, else one of the pool's: as many may wait for one as there are places."""
        if self._pooled is None:
            with self._metrics.checkout.labels(self._pool.name).time():
                self._pooled = self._admitted()
        connection = self._pooled.driver_connection
        assert isinstance(connection, Connection)
        return connection

    def discard(self) -> None:
        """It is broken, or in a state that nobody should find it in."""
        if self._pooled is not None:
            self._pooled.invalidate()
            self.release()

    def release(self) -> None:
        if self._pooled is not None:
            self._pooled.close()
            self._pooled = None
            self._pool.turnstile.leave()

    def _admitted(self) -> PoolProxiedConnection:
        if not self._pool.turnstile.enter(self._pool.timeout):
            self._metrics.pool_timeouts.labels(self._pool.name).inc()
            raise exc.TimeoutError
        try:
            return self._pool.engine.raw_connection()
        except BaseException:
            self._pool.turnstile.leave()
            raise
