"""An OpenTelemetry collector, as small as one can be: it takes spans over OTLP/HTTP and keeps them."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`endpoint` is what OTEL_EXPORTER_OTLP_ENDPOINT is to hold; `spans` what was sent to it."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[Any] = []
        self.services: set[str] = set()

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def take(self, body: bytes) -> None:
        sent = ExportTraceServiceRequest.FromString(body)
        for resource in sent.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    taken: list[Collector] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken[0].take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: stderr is the tests'."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        taken.append(Collector(server.server_port))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield taken[0]
        finally:
            server.shutdown()
            thread.join()
