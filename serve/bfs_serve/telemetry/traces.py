"""Traces by OpenTelemetry, sent to OTEL_EXPORTER_OTLP_ENDPOINT; without one nothing of it is imported.

A trace goes from guard to ingress in the header `traceparent` (W3C Trace Context), and to the worker with the job in the store.
"""

import os
import re
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVICE = "bfs"
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Span(Protocol):
    """Something that lasts. `traceparent` is what its parts name as their parent."""

    traceparent: str

    def end(self, at: float | None = None, attributes: Mapping[str, str | int] | None = None) -> None:
        """It is over: now, or since `at` (seconds since the epoch)."""


class _NoSpan:
    """Where nobody collects traces, the caller's own is passed on."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def end(self, at: float | None = None, attributes: Mapping[str, str | int] | None = None) -> None:
        """Nothing to end."""


class _RealSpan:
    def __init__(self, span: Any) -> None:
        self._span, context = span, span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, at: float | None = None, attributes: Mapping[str, str | int] | None = None) -> None:
        self._span.set_attributes(attributes or {})
        self._span.end(_nanoseconds(at))


def begin(name: str, parent: str = "", at: float | None = None, attributes: Mapping[str, str | int] | None = None) -> Span:
    """A span that begins now, or began `at` (seconds since the epoch), as a part of `parent` (a traceparent)."""
    parent = parent if _TRACEPARENT.fullmatch(parent) else ""
    if _provider() is None:
        return _NoSpan(parent)
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent})
    tracer = _provider().get_tracer("bfs_serve")
    return _RealSpan(tracer.start_span(name, context, attributes=attributes, start_time=_nanoseconds(at)))


def flush() -> None:
    """Send what has ended; called before a process is stopped."""
    if _provider() is not None:
        _provider().force_flush(5000)


@cache
def _provider() -> Any:
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", _SERVICE)
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _nanoseconds(at: float | None) -> int:
    return time.time_ns() if at is None else round(at * 1e9)
