"""Peers that answer over HTTP with GeoJSON, each set up as its makers recommend for production.

All are asked for boxes. pg_featureserv and TiPg answer about circles, too, by a function that was published to them;
the nearest come first where that is asked for.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

from benchmarks.database import cursor_of
from benchmarks.dataset import PROPERTIES, Centre
from benchmarks.environments import go_program, python_environment
from benchmarks.load import Load
from benchmarks.programs import LOCAL, free_port, serving
from benchmarks.questions import ANY_NUMBER, BOX, USUAL, Ids, Question
from benchmarks.wrk import http_load

CONNECTIONS = 16  # that each server may open to the database
PYGEOAPI_WORKERS = 4  # as in its container image
RENEWAL_SECONDS = 0.5
_HERE = Path(__file__).parent
_PYGEOAPI = _HERE / "pygeoapi.yml"
_COLLECTION = "/collections/{}/items"

PathOf = Callable[[Question, Centre], str]


@dataclass(frozen=True)
class HttpPeer:
    """A peer that runs: where it listens, its first process, how it is asked, how it is started again if need be."""

    port: int
    process: int
    path: PathOf
    restart: Callable[[], int] | None = None

    def renewed(self, paths: Sequence[str]) -> int:
        """Its process, from now on: another one, which has answered on all its connections, where it has to be."""
        if self.restart is None:
            return self.process
        process, until = self.restart(), time.monotonic() + RENEWAL_SECONDS

        def ask(caller: int) -> None:
            self._bytes(paths[caller % len(paths)])
            while time.monotonic() < until:  # a connection prepares several forms of a statement
                self._bytes(paths[caller % len(paths)])

        with ThreadPoolExecutor(CONNECTIONS) as callers:
            list(callers.map(ask, range(CONNECTIONS)))
        return process

    def answer(self, question: Question, centre: Centre) -> tuple[int, Ids]:
        """How many bytes it answers with, and which features."""
        body = self._bytes(self.path(question, centre))
        return len(body), [int(feature["id"]) for feature in json.loads(body)["features"]]

    def _bytes(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def features(self, centres: Sequence[Centre]) -> int:
        """How many features it finds around the centres, all together."""
        return sum(len(self.answer(_USUAL_BOX, centre)[1]) for centre in centres)

    def run(self, centres: Sequence[Centre], seconds: float) -> Load:
        return http_load(self.port, [self.path(_USUAL_BOX, centre) for centre in centres], seconds)


_USUAL_BOX = USUAL.within(BOX)


def publish(url: str) -> None:
    """What pg_featureserv and TiPg answer about circles by."""
    with cursor_of(url) as cursor:
        cursor.execute((_HERE / "published.sql").read_text())


@contextmanager
def tipg(url: str, workers: int = 1) -> Iterator[HttpPeer]:
    """With its collections read once and a pool that never waits: as fast as it gets."""
    port = free_port()
    settings = {
        "DATABASE_URL": url,
        "DB_MIN_CONN_SIZE": str(CONNECTIONS),
        "DB_MAX_CONN_SIZE": str(CONNECTIONS),
        "TIPG_CATALOG_TTL": "0",
        "TIPG_DB_SCHEMAS": '["public", "postgisftw"]',
        "TIPG_DB_TABLES": '["public.facilities"]',
        "TIPG_DB_FUNCTIONS": '["postgisftw.facilities_within"]',
        "TIPG_DB_SPATIAL_EXTENT": "false",
        "TIPG_DB_DATETIME_EXTENT": "false",
        "TIPG_MAX_FEATURES_PER_QUERY": str(ANY_NUMBER),
    }
    uvicorn = [str(python_environment("tipg") / "uvicorn"), "tipg.main:app", "--no-access-log", "--log-level=warning"]
    uvicorn += ["--loop=uvloop", "--http=httptools", "--host=127.0.0.1", f"--port={port}", f"--workers={workers}"]
    with _serving("tipg", uvicorn, port, "/healthz", settings) as process:
        table, function = (_COLLECTION.format(name) for name in ("public.facilities", "postgisftw.facilities_within"))
        yield HttpPeer(port, process, _asking(table, function, PROPERTIES, {"f": "geojson"}))


@contextmanager
def pg_featureserv(url: str) -> Iterator[HttpPeer]:
    """One process for all cores, with as many connections as the others have and the largest page that is asked for.

    Started anew for each measurement: calls that a load generator cuts off keep their connections for good.
    """
    port = free_port()
    settings = {
        "DATABASE_URL": url,
        "PGFS_SERVER_HTTPHOST": "127.0.0.1",
        "PGFS_SERVER_HTTPPORT": str(port),
        "PGFS_DATABASE_DBPOOLMAXCONNS": str(CONNECTIONS),
        "PGFS_DATABASE_TABLEINCLUDES": "public.facilities",
        "PGFS_PAGING_LIMITMAX": str(ANY_NUMBER),
    }
    with ExitStack() as running:

        def start() -> int:
            running.close()
            command = [go_program("pg_featureserv")]
            return running.enter_context(_serving("pg_featureserv", command, port, "/collections.json", settings))

        table, function = _COLLECTION.format("public.facilities"), "/functions/facilities_within/items"
        # It leaves out the key, too, unless that is asked for.
        yield HttpPeer(port, start(), _asking(table, function, ("id", *PROPERTIES), {}), restart=start)


@contextmanager
def pygeoapi(url: str) -> Iterator[HttpPeer]:
    """Its PostgreSQL provider, under gunicorn with the workers of its container image."""
    port, address = free_port(), urlsplit(url)
    programs, contract = python_environment("pygeoapi"), LOCAL / "pygeoapi-openapi.yml"
    settings = {
        "PYGEOAPI_CONFIG": str(_PYGEOAPI),
        "PYGEOAPI_OPENAPI": str(contract),
        "PEER_PORT": str(port),
        "PEER_MOST_ITEMS": str(ANY_NUMBER),
        "PEER_DATABASE_HOST": str(address.hostname),
        "PEER_DATABASE_PORT": str(address.port),
        "PEER_DATABASE": address.path.strip("/"),
        "PEER_DATABASE_USER": str(address.username),
        "PEER_DATABASE_PASSWORD": str(address.password),
    }
    generate: list[str | Path] = [programs / "pygeoapi", "openapi", "generate", _PYGEOAPI, "--output-file", contract]
    subprocess.run(generate, env=os.environ | settings, check=True, capture_output=True)
    gunicorn: list[str | Path] = [
        programs / "gunicorn",
        f"--workers={PYGEOAPI_WORKERS}",
        "--worker-class=gevent",
        "--timeout=6000",
    ]
    gunicorn += [f"--bind=127.0.0.1:{port}", "--log-level=warning", "pygeoapi.flask_app:APP"]
    with _serving("pygeoapi", gunicorn, port, "/conformance?f=json", settings) as process:
        yield HttpPeer(port, process, _boxes(_COLLECTION.format("facilities"), PROPERTIES, {"f": "json"}))


def _boxes(table: str, properties: Sequence[str], besides: Mapping[str, str]) -> PathOf:
    def path(question: Question, centre: Centre) -> str:
        asked = {
            "bbox": ",".join(f"{side:.7f}" for side in question.box(centre)),
            "properties": ",".join(properties),
            "limit": str(question.limit),
            **besides,
        }
        return f"{table}?{urlencode(asked, safe=',')}"

    return path


def _circles(function: str, properties: Sequence[str], besides: Mapping[str, str]) -> PathOf:
    def path(question: Question, centre: Centre) -> str:
        asked = {
            "lon": f"{centre.longitude:.6f}",
            "lat": f"{centre.latitude:.6f}",
            "radius": repr(question.radius_meters),
            "properties": ",".join((*properties, "distance")),
            "limit": str(question.limit),
            **({"sortby": "distance"} if question.is_page else {}),
            **besides,
        }
        return f"{function}?{urlencode(asked, safe=',')}"

    return path


def _asking(table: str, function: str, properties: Sequence[str], besides: Mapping[str, str]) -> PathOf:
    """A table about boxes, and a function about circles."""
    box, circle = _boxes(table, properties, besides), _circles(function, properties, besides)
    return lambda question, centre: (box if question.area == BOX else circle)(question, centre)


@contextmanager
def _serving(
    name: str, command: Sequence[str | Path], port: int, ready_path: str, settings: Mapping[str, str]
) -> Iterator[int]:
    def ready() -> bool:
        try:
            return bool(urlopen(f"http://127.0.0.1:{port}{ready_path}", timeout=5).status == 200)
        except (URLError, OSError):
            return False

    with serving(name, command, ready, os.environ | settings) as process:
        yield process
