"""A recording ASGI application to put behind the guard, and a client to put in front of it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from bfs_serve.edge.body import BodyLimits
from bfs_serve.edge.signature import CallerFacts, secret, verified
from bfs_serve.guard import Guard, GuardLimits
from bfs_serve.keys import KeyRing

LIMITS = GuardLimits(BodyLimits(max_bytes=100, max_buffered_bytes=150, grace_s=0.2, min_bytes_per_s=1000), 2, 2, probe_s=0.2)
Headers = dict[str, str]


class Inside:
    """The application behind the guard: records what reaches it and answers 200, or as told."""

    def __init__(self, answer: Callable[[Send], Any] | None = None) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        self.bodies.append(body)
        if self.answer is not None:
            await self.answer(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"inside"})

    def headers(self) -> Headers:
        return {name.decode().lower(): value.decode() for name, value in self.scopes[-1]["headers"]}

    def caller(self) -> CallerFacts | None:
        """Who calls, by the guard's signature on this request."""
        headers, key = self.headers(), secret()
        assert key is not None
        return verified(headers["x-bfs-caller"], headers["x-request-id"], key)


class Answer:
    """What the client received."""

    def __init__(self, messages: list[Message]) -> None:
        start = messages[0]
        self.status = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])

    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return problem


async def ask(
    guard: Guard,
    path: str = "/v1/layers",
    headers: Headers | None = None,
    chunks: list[bytes] | None = None,
    pause_s: float = 0.0,
    server: str = "127.0.0.1",
    method: str = "POST",
) -> Answer:
    """Send one request, its body in chunks with pauses, and collect the answer."""
    raw = [(k.lower().encode(), v.encode()) for k, v in ({"host": "127.0.0.1:8000"} | (headers or {})).items()]
    scope: Scope = {"type": "http", "method": method, "path": path, "headers": raw, "server": (server, 8000), "query_string": b""}
    left = list(chunks or [])
    messages: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(pause_s)
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Message) -> None:
        messages.append(message)

    await guard(scope, receive, send)
    return Answer(messages)


def get(inside: Any, limits: GuardLimits = LIMITS, keys: KeyRing | None = None, **request: Any) -> Answer:
    return asyncio.run(asyncio.wait_for(ask(Guard(inside, limits, keys), **request), 10))
