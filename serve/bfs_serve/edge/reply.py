"""The way back through the guard: security headers on every answer, and problem documents for what Serve says in plain text."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Send

from bfs_serve import problems
from bfs_serve.edge.admission import HEADER as NO_ROOM
from bfs_serve.problems import Problem
from bfs_serve.telemetry.logs import log

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_DETAILS = {408: "The answer took too long.", 503: "A part of the service is starting, restarting or full; try again."}
_LOST = Problem("interrupted", "The worker that handled the request was lost; try again.", retry_after_s=1)
# What Serve says in plain text of what it has lost, or does not know yet. The application says 404 and 500 in problem documents.
_PASSING = {404: Problem("not-ready", "The service is still starting.", retry_after_s=2), 500: _LOST}


class Reply:
    """Sends the answer to one request. `status`: what was answered; `refused`: why, where it was the guard that answered; `no_room`:
    for whom the service has none."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id = send, request_id
        self._started = self._done = False
        self.status: int | None = None
        self.refused: str | None = None
        self.no_room: str | None = None

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        if self._done:
            return
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if message["status"] >= 400 and headers.get("content-type", "") != problems.MEDIA_TYPE:
                await self.refuse(_of_serve(message["status"], headers))
                return
            self._started = True
            self.status = message["status"]
            self.no_room = headers.get(NO_ROOM)
            _secure(message)
            MutableHeaders(raw=message["headers"]).setdefault("X-Request-ID", self.request_id)
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun, and with nothing after it."""
        if self._started:
            return
        self._started = self._done = True
        self.status, self.refused = problem.status, problem.slug
        body = problem.encoded(f"urn:bfs:request:{self.request_id}")
        headers = problem.all_headers() | {"Content-Length": str(len(body)), "X-Request-ID": self.request_id}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        start: Message = {"type": "http.response.start", "status": problem.status, "headers": raw}
        _secure(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def finish(self) -> None:
        """Called when the application is done: an answer that never began means that its worker died."""
        if not self._started:
            log.warning("no answer", request_id=self.request_id)
        await self.refuse(_LOST)


def _of_serve(status: int, headers: Headers) -> Problem:
    """The problem that an answer of Serve's own means."""
    if status in _PASSING:
        return _PASSING[status]
    kept = {name: headers[name] for name in ("Allow", "Retry-After") if name in headers}
    if status == 503:
        kept.setdefault("Retry-After", "2")
    return problems.of_status(status, _DETAILS.get(status, "The request was not accepted."), kept)


def _secure(message: Message) -> None:
    headers = MutableHeaders(raw=message["headers"])
    del headers[NO_ROOM]
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    message["headers"] = headers.raw
