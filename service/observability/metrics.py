"""Every metric there is. Takes a registry, so that two servers in one process do not share counts."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.observability.calls import Calls
from service.observability.plain import Level, PlainHistogram

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
CALLS = (1, 2, 4, 8, 16, 32, 64, 128)

REJECTIONS = (
    "overloaded",
    "pool_exhausted",
    "too_many_streams",
    "plan_too_expensive",
    "seq_scan_refused",
    "too_many_calls",
    "rate_limited",
    "memory_pressure",
)


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=SECONDS, registry=registry)

        self.registry = registry
        self._watched = _Watched()
        registry.register(self._watched)
        self.calls = Calls(SECONDS)
        registry.register(self.calls)

        self.checkout = seconds("spatial_pool_checkout_seconds", "How long a checkout waited.", "pool")
        self.pool_timeouts = counter("spatial_pool_timeouts", "Checkouts that waited in vain.", "pool")
        self.connects = counter("spatial_pool_connects", "Connections opened.", "pool")
        self.invalidations = counter("spatial_pool_invalidations", "Connections given up as broken.", "pool")

        self.query = seconds("spatial_query_seconds", "How long statements ran.", "query", "layer")
        self.cancelled = counter("spatial_statements_cancelled", "Statements ended early.", "cause")
        self.rejected = counter("spatial_requests_rejected", "Calls refused: too many, or too dear.", "reason")
        # Series that exist from the start, so that their rates begin at 0.
        for cause in ("abandoned", "statement_timeout"):
            self.cancelled.labels(cause)
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        self.batch_size = PlainHistogram("spatial_lane_batch_size", "Calls that shared a statement.", CALLS)
        self.lane_wait = PlainHistogram(
            "spatial_lane_wait_seconds", "How long a call waited for its statement.", SECONDS
        )
        registry.register(self.batch_size)
        registry.register(self.lane_wait)
        self.lane_depth = Level()
        depth = Gauge("spatial_lane_depth", "Calls waiting for a statement.", registry=registry)
        depth.set_function(lambda: self.lane_depth.number)

        self.write_retries = counter("spatial_write_retries", "Changes tried again after a collision.", "change")
        for change in ("create", "update", "delete"):
            self.write_retries.labels(change)

        self.stream_features = counter("spatial_stream_features", "Features sent by streams.", "method", "layout")
        self.stream_bytes = counter("spatial_stream_bytes", "Bytes of messages sent by streams.", "method")
        self.import_rows = counter("spatial_import_rows", "Rows of imports dealt with.", "layer", "outcome")
        self.import_retries = counter("spatial_import_retries", "Chunks of imports tried again.", "layer")
        self.imports_in_flight = Gauge("spatial_imports_in_flight", "Imports that are running.", registry=registry)
        self.streams_in_flight = Gauge("spatial_streams_in_flight", "Streams that are running.", registry=registry)

        self.calls_in_flight = Gauge("spatial_calls_in_flight", "Calls that run, or wait to.", registry=registry)
        self.concurrency_limit = Gauge(
            "spatial_concurrency_limit", "About how many calls may be in flight; 0: any number.", registry=registry
        )
        self.memory_used = Gauge("spatial_memory_used_ratio", "Memory used, of what there is.", registry=registry)

        self.connections_lacking = Gauge(
            "spatial_connections_lacking", "Connections that PostgreSQL lacks for all pools.", registry=registry
        )
        self.ready = Gauge("spatial_ready", "Whether this server says that it can answer.", registry=registry)
        self.replica_lag = Gauge(
            "spatial_replica_lag_bytes", "How far a replica is behind the primary.", ["replica"], registry=registry
        )
        self.replica_up = Gauge("spatial_replica_up", "Whether reads go to a replica.", ["replica"], registry=registry)
        self.reads = counter("spatial_reads", "Reads by the server that they went to.", "node")

        self.authentications = counter("spatial_authentications", "Calls by how their credentials fared.", "outcome")
        for outcome in (
            "accepted",
            "missing_credentials",
            "invalid_credentials",
            "expired_credentials",
            "insufficient_scope",
        ):
            self.authentications.labels(outcome)
        self.key_fetches = counter("spatial_jwks_fetches", "Fetches of the keys that tokens are checked by.", "outcome")

        self.build = Info("spatial_build", "What is running.", registry=registry)

    def watch(self, read: Callable[[], Iterable[GaugeMetricFamily]]) -> None:
        """Adds gauges that are read when somebody scrapes."""
        self._watched.reads.append(read)


class _Watched(Collector):
    """What several parts have under one name, each with labels of its own, is one family: a name is there once."""

    def __init__(self) -> None:
        self.reads: list[Callable[[], Iterable[GaugeMetricFamily]]] = []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for read in list(self.reads):
            for family in read():
                if families.setdefault(family.name, family) is not family:
                    families[family.name].samples += family.samples
        return families.values()
