"""The way back through the guard: security headers on every answer, and problem documents for what Serve says in plain text."""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Send

from bfs_serve import problems
from bfs_serve.problems import Problem

logger = logging.getLogger("bfs_serve")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_DETAILS = {
    408: "The answer took too long.",
    500: "The service failed.",
    503: "A part of the service is starting, restarting or full; try again.",
}


class Reply:
    """Sends the answer to one request."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self._started = self._done = False

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        if self._done:
            return
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if message["status"] >= 400 and headers.get("content-type", "") != problems.MEDIA_TYPE:
                await self.refuse(self._plain(message["status"], headers))
                return
            self._started = True
            _secure(message)
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun, and with nothing after it."""
        if self._started:
            return
        self._started = self._done = True
        body = problem.encoded(f"urn:bfs:request:{self._request_id}")
        headers = problem.all_headers() | {"Content-Length": str(len(body)), "X-Request-ID": self._request_id}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        start: Message = {"type": "http.response.start", "status": problem.status, "headers": raw}
        _secure(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    async def finish(self) -> None:
        """Called when the application is done: an answer that never began means that its worker died."""
        if not self._started:
            logger.info("no answer to request %s", self._request_id)
        await self.refuse(Problem("interrupted", "The worker that handled the request was lost; try again.", retry_after_s=1))

    def _plain(self, status: int, headers: Headers) -> Problem:
        kept = {name: headers[name] for name in ("Allow", "Retry-After") if name in headers}
        if status == 503:
            kept.setdefault("Retry-After", "2")
        return problems.of_status(status, _DETAILS.get(status, "The request was not accepted."), kept)


def _secure(message: Message) -> None:
    headers = MutableHeaders(raw=message["headers"])
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    message["headers"] = headers.raw
