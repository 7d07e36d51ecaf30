"""Peers that answer over HTTP with GeoJSON, each set up as its makers recommend for production.

They know no radius and are asked for the box around each centre; the features come in no particular order.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

from benchmarks.dataset import PROPERTIES, Centre
from benchmarks.environments import go_program, python_environment
from benchmarks.load import Load, http_load
from benchmarks.programs import LOCAL, free_port, serving
from benchmarks.questions import ANY_NUMBER, USUAL, Question

CONNECTIONS = 16  # that each server may open to the database
PYGEOAPI_WORKERS = 4  # as in its container image
_ITEMS = "/collections/{}/items?{}"


@dataclass(frozen=True)
class HttpPeer:
    """A peer that runs: where it listens, its first process, how it is asked, how it is started again if need be."""

    port: int
    process: int
    path: Callable[[Question, Centre], str]
    restart: Callable[[], int] | None = None

    def renewed(self, paths: Sequence[str]) -> int:
        """Its process, from now on: another one, which has answered on all its connections, where it has to be."""
        if self.restart is None:
            return self.process
        process = self.restart()
        with ThreadPoolExecutor(CONNECTIONS) as callers:
            list(callers.map(self._bytes, islice(cycle(paths), CONNECTIONS)))
        return process

    def answer(self, question: Question, centre: Centre) -> tuple[int, int]:
        """How many bytes and features it answers with."""
        body = self._bytes(self.path(question, centre))
        return len(body), len(json.loads(body)["features"])

    def _bytes(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def features(self, centres: Sequence[Centre]) -> int:
        """How many features it finds around the centres, all together."""
        return sum(self.answer(USUAL, centre)[1] for centre in centres)

    def run(self, centres: Sequence[Centre], seconds: float) -> Load:
        return http_load(self.port, [self.path(USUAL, centre) for centre in centres], seconds)


@contextmanager
def tipg(url: str, workers: int = 1) -> Iterator[HttpPeer]:
    """With its collections read once and a pool that never waits: as fast as it gets."""
    port = free_port()
    settings = {
        "DATABASE_URL": url,
        "DB_MIN_CONN_SIZE": str(CONNECTIONS),
        "DB_MAX_CONN_SIZE": str(CONNECTIONS),
        "TIPG_CATALOG_TTL": "0",
        "TIPG_DB_TABLES": '["public.facilities"]',
        "TIPG_DB_SPATIAL_EXTENT": "false",
        "TIPG_DB_DATETIME_EXTENT": "false",
        "TIPG_MAX_FEATURES_PER_QUERY": str(ANY_NUMBER),
    }
    uvicorn = [str(python_environment("tipg") / "uvicorn"), "tipg.main:app", "--no-access-log", "--log-level=warning"]
    uvicorn += ["--loop=uvloop", "--http=httptools", "--host=127.0.0.1", f"--port={port}", f"--workers={workers}"]
    with _serving("tipg", uvicorn, port, "/healthz", settings) as process:
        yield HttpPeer(port, process, _asking("public.facilities", {"f": "geojson"}))


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

        yield HttpPeer(port, start(), _asking("public.facilities", {}), restart=start)


@contextmanager
def pygeoapi(url: str) -> Iterator[HttpPeer]:
    """Its PostgreSQL provider, under gunicorn with the workers of its container image."""
    port = free_port()
    programs = python_environment("pygeoapi")
    configuration, contract = LOCAL / "pygeoapi.yml", LOCAL / "pygeoapi-openapi.yml"
    configuration.write_text(json.dumps(_pygeoapi_configuration(url, port)))  # JSON is YAML
    settings = {"PYGEOAPI_CONFIG": str(configuration), "PYGEOAPI_OPENAPI": str(contract)}
    generate: list[str | Path] = [
        programs / "pygeoapi",
        "openapi",
        "generate",
        configuration,
        "--output-file",
        contract,
    ]
    subprocess.run(generate, env=os.environ | settings, check=True, capture_output=True)
    gunicorn: list[str | Path] = [
        programs / "gunicorn",
        f"--workers={PYGEOAPI_WORKERS}",
        "--worker-class=gevent",
        "--timeout=6000",
    ]
    gunicorn += [f"--bind=127.0.0.1:{port}", "--log-level=warning", "pygeoapi.flask_app:APP"]
    with _serving("pygeoapi", gunicorn, port, "/conformance?f=json", settings) as process:
        yield HttpPeer(port, process, _asking("facilities", {"f": "json"}))


def _pygeoapi_configuration(url: str, port: int) -> dict[str, object]:
    address = urlsplit(url)
    provider = {
        "type": "feature",
        "name": "PostgreSQL",
        "data": {
            "host": address.hostname,
            "port": address.port,
            "dbname": address.path.strip("/"),
            "user": address.username,
            "password": address.password,
            "search_path": ["public"],
        },
        "id_field": "id",
        "table": "facilities",
        "geom_field": "location",
    }
    facilities = {
        "type": "collection",
        "title": "facilities",
        "description": "facilities",
        "keywords": ["facilities"],
        "links": [],
        "extents": {"spatial": {"bbox": [-180, -90, 180, 90]}},
        "providers": [provider],
    }
    about = {"title": "facilities", "description": "facilities", "keywords": ["facilities"], "url": "http://localhost"}
    person = {"name": "nobody", "url": "http://localhost"}
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": f"http://127.0.0.1:{port}",
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "languages": ["en-US"],
            "limits": {"default_items": 10, "max_items": ANY_NUMBER},
            "map": {"url": "http://localhost", "attribution": "none"},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {**about, "keywords_type": "theme", "terms_of_service": "none"},
            "license": {"name": "none", "url": "http://localhost"},
            "provider": person,
            "contact": {**person, "email": "nobody@localhost"},
        },
        "resources": {"facilities": facilities},
    }


def _asking(collection: str, besides: Mapping[str, str]) -> Callable[[Question, Centre], str]:
    def path(question: Question, centre: Centre) -> str:
        asked = {
            "bbox": ",".join(f"{side:.7f}" for side in centre.box_of(question.half_side_meters)),
            "properties": ",".join(PROPERTIES),
            "limit": str(question.limit),
            **besides,
        }
        return _ITEMS.format(collection, urlencode(asked, safe=","))

    return path


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
