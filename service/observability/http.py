"""The HTTP side: /metrics for Prometheus, and a page for people who open the port in a browser."""

from collections.abc import Callable, Iterable
from html import escape
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

Status = Callable[[], dict[str, str]]

HTML = "text/html; charset=utf-8"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>spatial-service</title>
<style>body{{font:16px/1.5 system-ui;margin:3rem auto;max-width:48rem}}th{{text-align:left;padding-right:2rem}}</style>
<h1>spatial-service</h1><table>{rows}</table><p><a href="/metrics">Metrics</a></p></html>
"""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A line for every scrape says nothing."""


class StatusServer:
    """Serves until closed, on threads of its own, so that a scrape never waits for the event loop."""

    def __init__(self, address: str, registry: CollectorRegistry, status: Status) -> None:
        host, _, port = address.rpartition(":")
        app = _application(registry, status)
        self._server = make_server(host.strip("[]"), int(port), app, _Server, _QuietHandler)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _application(registry: CollectorRegistry, status: Status) -> Callable[..., Iterable[bytes]]:
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            scrape: Iterable[bytes] = metrics(environ, start_response)
            return scrape
        if path != "/":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found\n"]
        start_response("200 OK", [("Content-Type", HTML)])
        return [page(status())]

    return application


def page(status: dict[str, str]) -> bytes:
    rows = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in status.items())
    return _PAGE.format(rows=rows).encode()
