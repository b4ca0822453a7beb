"""What the guard tells of the requests that it sees: counters, a line of the log, a span of the trace.

Serve's proxies know no store, so what is counted travels inwards, signed, with a request that passes: the scrape that asks for it is
one, so nothing is missing there.
"""

import re
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from bfs_serve.edge.reply import Reply
from bfs_serve.edge.signature import COUNTS_HEADER, signed_counts
from bfs_serve.telemetry import amounts, traces
from bfs_serve.telemetry.amounts import Tally
from bfs_serve.telemetry.logs import log
from bfs_serve.telemetry.traces import Span

METRICS = "/metrics"
_ROUTES = ("/v1/layers", "/v1/extractions", "/v1/documents", "/v1/exports", "/v1/jobs", "/v1/models", "/openapi.json", METRICS)
_QUIET = ("/healthz", "/readyz", "/-/healthz", METRICS)
_JOB = re.compile(r"/v1/jobs/[^/]+(/events|/result)?")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HAND_ON_S = 1.0


def route_of(path: str) -> str:
    """The kind of address that a path is, so that counters are few whatever is asked for."""
    if path in _ROUTES or path in _QUIET:
        return path
    if job := _JOB.fullmatch(path):
        return f"/v1/jobs/{{job_id}}{job[1] or ''}"
    return "/studio" if path.startswith("/studio") else "other"


@dataclass(eq=False)
class Visit:
    """A request, from its arrival to the end of its answer."""

    method: str
    route: str
    kind: str
    request_id: str
    span: Span
    caller: str = ""
    began: float = field(default_factory=time.perf_counter)


class Watch:
    """Of one guard."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._handed_on = 0.0

    def arrived(self, scope: Scope, request_id: str, kind: str) -> Visit:
        """A request has come. `kind`: which places it takes."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_of(scope["path"])
        parent = Headers(scope=scope).get("traceparent", "")
        span = traces.begin(
            f"{method} {route}", parent, attributes={"http.request.method": method, "http.route": route, "request.id": request_id}
        )
        return Visit(method, route, kind, request_id, span)

    def answered(self, visit: Visit, reply: Reply) -> None:
        """Its answer is over."""
        seconds = time.perf_counter() - visit.began
        status = reply.status or 499  # who asked has left before an answer began
        self._tally.count(amounts.REQUESTS, f"{visit.method} {visit.route} {status}")
        self._tally.add(amounts.of_seconds(amounts.REQUEST_SECONDS, seconds, visit.kind))
        if reply.refused is not None:
            self._tally.count(amounts.GUARD_REFUSED, reply.refused)
        visit.span.end(attributes={"http.response.status_code": status})
        tell = log.debug if visit.route in _QUIET else log.info
        shown = {"method": visit.method, "route": visit.route, "status": status, "seconds": round(seconds, 4)}
        tell("request", request_id=visit.request_id, caller=visit.caller, refused=reply.refused, **shown)

    def hand_on(self, scope: Scope, visit: Visit, key: bytes) -> amounts.Amounts:
        """Put what was counted into the headers of a request that is passed on: now and then, and whenever it is asked for."""
        now = time.monotonic()
        if visit.route != METRICS and now - self._handed_on < _HAND_ON_S:
            return {}
        self._handed_on = now
        if counts := self._tally.drain():
            scope["headers"].append((COUNTS_HEADER.encode(), signed_counts(counts, visit.request_id, key).encode()))
        return counts

    def take_back(self, counts: amounts.Amounts) -> None:
        """The request did not arrive."""
        self._tally.add(counts)
