"""What an ingress replica tells of a request, and what the guard counted, which comes with one."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bfs_serve.api.service import Service
from bfs_serve.edge.signature import COUNTS_HEADER, verified_counts
from bfs_serve.telemetry import logs, traces

REQUEST_ID, TRACE = "bfs.request_id", "bfs.trace"
"""Where the scope of a request holds its id, and what parts of it name as their parent."""


class Observed:
    """ASGI middleware. `secret`: what guard and ingress know each other by."""

    def __init__(self, app: ASGIApp, service: Service, secret: bytes | None) -> None:
        self._app, self._service, self._secret = app, service, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id")
        scope[REQUEST_ID] = logs.request_id(given)
        logs.about(scope[REQUEST_ID])
        counts = headers.get(COUNTS_HEADER)
        if counts and self._secret and (known := verified_counts(counts, given or "", self._secret)):
            self._service.tally.add(known)
        span = traces.begin("ingress", headers.get("traceparent", ""), attributes={"request.id": scope[REQUEST_ID]})
        scope[TRACE] = span.traceparent
        try:
            await self._app(scope, receive, send)
        finally:
            span.end()
