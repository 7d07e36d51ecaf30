"""Spans to an OpenTelemetry collector: of each call, and in it of what it waited for and ran in the database.

The packages are those of the extra `tracing`; they are imported where spans are wanted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service import __version__
from service.observability.trail import Step, Trail

if TYPE_CHECKING:
    from opentelemetry.trace import Span

EXPORT_SECONDS = 2.0
NANOSECONDS = 1e9
# What steps say, by OpenTelemetry's names.
_NAMES = {"query": "db.query.summary", "layer": "db.collection.name", "statement": "db.query.text"}


class TracingUnavailable(Exception):
    """The packages are not there."""


class Tracing:
    """Who is traced is for the caller to say; of those who say nothing, `share` are."""

    def __init__(self, endpoint: str, share: float, service: str) -> None:
        """`endpoint` is a collector's OTLP address over HTTP, as http://collector:4318."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace import SpanKind, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as missing:
            raise TracingUnavailable(
                f"tracing needs {missing.name}, which comes with `pip install 'spatial-service[server,tracing]'`"
            ) from None
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({"service.name": service, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("spatial-service", __version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._server, self._client, self._internal = SpanKind.SERVER, SpanKind.CLIENT, SpanKind.INTERNAL
        self._failed = StatusCode.ERROR

    def begin(self, metadata: Mapping[str, str | bytes], service: str, method: str) -> Span:
        """A call's span, as a child of the caller's where there is one."""
        texts = {name: value for name, value in metadata.items() if isinstance(value, str)}
        about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        return self._tracer.start_span(f"{service}/{method}", self._extract(texts), self._server, about)

    def end(self, span: Span, trail: Trail | None, about: Mapping[str, str | int], failure: str | None) -> None:
        """Ends a call's span, with those of the trail's steps in it."""
        if span.is_recording():
            past = time.time_ns() - _nanoseconds(time.perf_counter())
            for step in trail.steps if trail is not None else ():
                self._step(span, step, past)
            span.set_attributes(dict(about))
            if failure is not None:
                span.set_status(self._failed, failure)
        span.end()

    def close(self) -> None:
        """Sends what is left; blocks for as long as the collector takes, within limits."""
        self._provider.shutdown()

    def _step(self, parent: Span, step: Step, past: int) -> None:
        """`past` is what the clock of steps lacks of the time of day."""
        from opentelemetry.trace import set_span_in_context

        about = {_NAMES.get(name, f"spatial.{name}"): value for name, value in step.about.items()}
        if step.name == "statement":
            about["db.system.name"] = "postgresql"
        kind = self._client if step.name == "statement" else self._internal
        began, ended = (past + _nanoseconds(moment) for moment in (step.began, step.began + step.seconds))
        span = self._tracer.start_span(step.name, set_span_in_context(parent), kind, about, start_time=began)
        span.end(ended)


def _nanoseconds(seconds: float) -> int:
    """Whole ones: since 1970 there have been more of them than a float can tell apart."""
    return round(seconds * NANOSECONDS)
