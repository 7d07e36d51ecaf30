"""Who answers the question: the database itself, a bare handler, TiPg, and this service. One process each."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from benchmarks.dataset import LIMIT, PROPERTIES, Centre
from benchmarks.grpc_question import METHOD, Answers, Client
from benchmarks.load import Load, grpc_load, http_load, sql_load
from benchmarks.programs import LOCAL, free_port, say, serving

CONNECTIONS = 16  # that each server may open to the database
NO_SETTINGS: Mapping[str, str] = {}


class Contender(Protocol):
    def run(self, centres: Sequence[Centre], seconds: int) -> Load:
        """As many callers as centres, at once, each sending its next call when the last is answered."""


class Database:
    """The same statement, straight from pgbench: the limit for one call at a time and connection."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, centres: Sequence[Centre], seconds: int) -> Load:
        return sql_load(self._url, [centre.statement for centre in centres], seconds)


class GrpcServer:
    """A server of the contract, whose answers are checked now and every time before and after it is measured."""

    def __init__(self, name: str, port: int, process: int, client: Client, answers: Answers) -> None:
        self._name = name
        self.port = port
        self.process = process
        self._client = client
        self._answers = answers
        self.check()

    def check(self) -> None:
        self._answers.check(self._name, self._client)

    def run(self, centres: Sequence[Centre], seconds: int) -> Load:
        exchanges = [self._answers.exchanges[centre] for centre in centres]
        return grpc_load(self.port, METHOD, exchanges, seconds)


@contextmanager
def bare_handler(url: str, threads: int, answers: Answers) -> Iterator[GrpcServer]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_handler", url, str(port), str(threads)]
    with _grpc_server(f"bare-{threads}", port, command, {}, answers) as server:
        yield server


@contextmanager
def service(
    url: str, answers: Answers, name: str = "spatial-service", settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[GrpcServer]:
    port = free_port()
    environment = {
        "SPATIAL_DATABASE_URL": url,
        "SPATIAL_LISTEN": f"127.0.0.1:{port}",
        "SPATIAL_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "SPATIAL_LOG_LEVEL": "warning",
        "SPATIAL_WORKERS": "1",
        # The load generator opens its connections once, and would end with them.
        "SPATIAL_MAX_CONNECTION_AGE": "0",
        **settings,
    }
    command = [str(Path(sys.executable).with_name("spatial")), "serve"]
    with _grpc_server(name, port, command, environment, answers) as server:
        yield server


@contextmanager
def _grpc_server(
    name: str, port: int, command: Sequence[str], settings: Mapping[str, str], answers: Answers
) -> Iterator[GrpcServer]:
    client = Client(port)
    try:
        with serving(name, command, client.ready, os.environ | settings) as process:
            server = GrpcServer(name, port, process, client, answers)
            yield server
            server.check()
    finally:
        client.close()


class Tipg:
    """TiPg, asked for the box around each centre: it knows no radius. It answers with GeoJSON, unordered."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ready(self) -> bool:
        try:
            return bool(urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1).status == 200)
        except (URLError, OSError):
            return False

    def path(self, centre: Centre) -> str:
        question = {
            "bbox": ",".join(f"{side:.7f}" for side in centre.box),
            "properties": ",".join(PROPERTIES),
            "limit": LIMIT,
            "f": "geojson",
        }
        return "/collections/public.facilities/items?" + urlencode(question, safe=",")

    def features(self, centres: Sequence[Centre]) -> int:
        """How many features it finds around the centres, all together."""
        total = 0
        for centre in centres:
            with urlopen(f"http://127.0.0.1:{self.port}{self.path(centre)}", timeout=10) as answer:
                total += len(json.load(answer)["features"])
        return total

    def run(self, centres: Sequence[Centre], seconds: int) -> Load:
        return http_load(self.port, [self.path(centre) for centre in centres], seconds)


@contextmanager
def tipg(url: str) -> Iterator[Tipg]:
    """With its collections read once and a pool that never waits: as fast as it gets in one process."""
    server = Tipg(free_port())
    settings = {
        "DATABASE_URL": url,
        "DB_MIN_CONN_SIZE": str(CONNECTIONS),
        "DB_MAX_CONN_SIZE": str(CONNECTIONS),
        "TIPG_CATALOG_TTL": "0",
        "TIPG_DB_TABLES": '["public.facilities"]',
        "TIPG_DB_SPATIAL_EXTENT": "false",
        "TIPG_DB_DATETIME_EXTENT": "false",
    }
    uvicorn = [str(_tipg_environment() / "bin" / "uvicorn"), "tipg.main:app", "--no-access-log", "--log-level=warning"]
    uvicorn += ["--loop=uvloop", "--http=httptools", "--host=127.0.0.1", f"--port={server.port}"]
    with serving("tipg", uvicorn, server.ready, os.environ | settings):
        yield server


def _tipg_environment() -> Path:
    """TiPg's own virtual environment, made once for each content of its lock."""
    lock = Path(__file__).with_name("requirements-tipg.lock")
    folder = LOCAL / f"tipg-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    installed = folder / "installed"
    if not installed.exists():
        say("installing TiPg, once")
        venv.create(folder, with_pip=True, clear=True)
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([folder / "bin" / "pip", "install", *options, "--requirement", lock], check=True)
        installed.touch()
    return folder
