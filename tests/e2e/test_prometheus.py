"""A real Prometheus beside a service that has everything it can have: every query of the dashboard finds something."""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_server
from threading import Event
from typing import Any, cast
from urllib.request import urlopen

import grpc
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service import migrations
from tests import issuing
from tests.calls import CALLS, Caller
from tests.certificates import Authority
from tests.monitoring import QUERIES, TABLE, metrics_in, write_rules
from tests.processes import Serving, spatial_serve
from tests.prometheus import SCRAPE_SECONDS, Prometheus, prometheus
from tests.questions import fill, radius
from tests.replication import Replication, replication
from tests.situations import eventually, fetch, locked
from tests.streams import whole

SCOPES = "spatial.read spatial.write spatial.admin"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Watched:
    """A service under load, and the Prometheus that looks at it."""

    prometheus: Prometheus
    metrics: str  # its address

    def scrape(self) -> str:
        with urlopen(f"http://{self.metrics}/metrics", timeout=10) as response:
            return str(response.read().decode())


def test_every_query_of_the_dashboard_finds_something(tool: Callable[[str], str], tmp_path: Path) -> None:
    with watched(tool, tmp_path) as service:
        assert without_data(service.prometheus, {str(query): query.expression for query in QUERIES}) == {}
        eventually(lambda: {rule["health"] for rule in service.prometheus.rules()} == {"ok"}, PATIENCE_SECONDS)
        assert service.prometheus.values('ALERTS{alertname="SpatialAbsent"}') == []
        # Of two workers, and not their sum.
        assert service.prometheus.values("spatial_tls_certificate_expiry_seconds - time() < 31 * 86400")
        text = service.scrape()
        check(tool("promtool"), text)
        assert_described(list(text_string_to_metric_families(text)))


def without_data(prometheus: Prometheus, wanted: dict[str, str]) -> dict[str, str]:
    """The queries that have found nothing after a while; rates need two scrapes."""
    end = time.monotonic() + PATIENCE_SECONDS
    while wanted and time.monotonic() < end:
        time.sleep(SCRAPE_SECONDS / 4)
        wanted = {name: expression for name, expression in wanted.items() if not prometheus.values(expression)}
    return wanted


def check(promtool: str, text: str) -> None:
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def assert_described(families: list[Metric]) -> None:
    """The labels of what was scraped are those that docs/monitoring.md says."""
    endings = {"counter": "_total", "info": "_info"}
    for family in families:
        name = family.name + endings.get(family.type, "")
        if name not in metrics_in(name) or name.startswith("process_") or name.endswith("_created"):
            continue
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == TABLE[name], name
    assert {family.name for family in families} >= {name.removesuffix("_total") for name in TABLE}


@contextmanager
def watched(tool: Callable[[str], str], folder: Path) -> Iterator[Watched]:
    """With TLS and tokens, two workers and a replica; what goes wrong is brought about once, and then load goes on."""
    with ExitStack() as stack:
        databases = stack.enter_context(replication(standbys=1))
        migrations.upgrade(databases.url)
        fill(databases.url)
        databases.catch_up()
        authority = Authority("testers")
        publisher = stack.enter_context(issuing.publishing(issuing.key_set()))
        tls = authority.pair("localhost").write(folder)
        metrics = f"127.0.0.1:{free_port()}"
        service = stack.enter_context(serving(databases, publisher.url, metrics, **tls))
        program = tool("prometheus")
        seen = stack.enter_context(prometheus(program, folder, metrics, write_rules(folder)))
        channel = stack.enter_context(called_by(service, authority, issuing.token(scope=SCOPES)))
        stranger = stack.enter_context(called_by(service, authority, "of nobody's"))
        with suppress(grpc.RpcError):
            Caller(stranger).spatial.SearchRadius(radius(), timeout=10)
        service_seen = Watched(seen, metrics)
        go_wrong(Caller(channel), databases, service_seen.scrape)
        stack.enter_context(load(Caller(channel)))
        yield service_seen


def serving(databases: Replication, keys: str, metrics: str, **tls: str) -> Any:
    return spatial_serve(
        database_url=databases.url,
        replica_urls=databases.replica_urls,
        metrics_listen=metrics,
        workers="2",
        jwks=keys,
        jwt_issuer=issuing.ISSUER,
        jwt_audience=issuing.AUDIENCE,
        lock_timeout="0.3",
        max_streams="2",
        **tls,
    )


@contextmanager
def called_by(service: Serving, authority: Authority, token: str) -> Iterator[grpc.Channel]:
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(authority.pem), grpc.access_token_call_credentials(token)
    )
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(service.address, credentials, options) as channel:
        yield channel


def go_wrong(caller: Caller, databases: Replication, scrape: Callable[[], str]) -> None:
    """A statement that is left, streams beyond those allowed, and an import that has to try again."""
    with ThreadPoolExecutor() as threads, locked(databases.url, "facilities") as unlock:
        fetch(databases.url, "SELECT pg_logical_emit_message(true, 'a commit', 'takes the lock to the replica')")
        databases.catch_up()
        importing = threads.submit(CALLS["ImportFeatures"], caller)
        streams = [caller.spatial.StreamFeatures(whole(), timeout=10) for _ in range(6)]
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in {ended(stream) for stream in streams}
        eventually(lambda: left_by_its_caller(caller, scrape), within=20)
        eventually(lambda: "spatial_import_retries_total{" in scrape(), within=20)
        unlock()
        importing.result(timeout=30)


def left_by_its_caller(caller: Caller, scrape: Callable[[], str]) -> bool:
    """Whether a statement has been cancelled since a call expired; one that expires on its way leaves none."""
    call = caller.spatial.SearchRadius.future(radius(), timeout=0.2)
    assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    return 'spatial_statements_cancelled_total{cause="abandoned"} 0.0' not in scrape()


def ended(stream: Any) -> grpc.StatusCode:
    with suppress(grpc.RpcError):
        list(stream)
    return cast("grpc.StatusCode", stream.code())


@contextmanager
def load(caller: Caller) -> Iterator[None]:
    """Every method again and again until the end."""
    done = Event()

    def call_all() -> None:
        while not done.is_set():
            for call in CALLS.values():
                with suppress(grpc.RpcError):
                    call(caller)

    with ThreadPoolExecutor() as threads:
        calling = threads.submit(call_all)
        try:
            yield
        finally:
            done.set()
        calling.result(timeout=60)


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
