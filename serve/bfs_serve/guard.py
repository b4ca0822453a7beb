"""The edge guard: pure ASGI in front of Serve's proxy, where requests can still be refused cheaply.

Serve itself has no limit on bodies, honours headers with which any caller switches off timeouts and cancellation, and has
no keys. Load it with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=bfs_serve.guard:middlewares in the environment of the nodes.
Closed by default: without a keys file only loopback connections are answered.
"""

import asyncio
import ipaddress
import os
import re
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bfs_serve.edge_body import BodyLimits, BodyRefused, BufferBudget, read_body
from bfs_serve.edge_reply import Reply
from bfs_serve.keys import KEYS_FILE_VARIABLE, KeyRing
from bfs_serve.problems import Problem

OPEN_PATHS = ("/healthz", "/readyz", "/-/healthz")
CALLER_HEADER = b"x-bfs-caller"
# Serve obeys the first two from anybody and routes by the next two; spelled with - here, as Serve takes _ for it in some.
_STRIPPED = (
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
    b"x-request-id",
    b"authorization",
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_BODY_VARIABLE = "BFS_MAX_BODY_BYTES"
_MAX_IN_FLIGHT_VARIABLE = "BFS_MAX_IN_FLIGHT"
_FULL = Problem("busy", "Too many requests are being answered; try again in 1 s.", retry_after_s=1)


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What one proxy takes on: bodies, and requests being answered at once."""

    body: BodyLimits = field(default_factory=BodyLimits)
    max_in_flight: int = 256
    probe_s: float = 4.0

    @classmethod
    def from_env(cls) -> "GuardLimits":
        body = BodyLimits(max_bytes=int(os.environ.get(_MAX_BODY_VARIABLE, BodyLimits().max_bytes)))
        return cls(body, int(os.environ.get(_MAX_IN_FLIGHT_VARIABLE, cls().max_in_flight)))


def middlewares() -> list[Any]:
    """Called by Serve's proxy when it starts. A bad keys file keeps it from starting."""
    from starlette.middleware import Middleware

    path = os.environ.get(KEYS_FILE_VARIABLE)
    return [Middleware(Guard, limits=GuardLimits.from_env(), keys=KeyRing(path) if path else None)]


class Guard:
    """ASGI middleware. `keys`: who may call; None: anybody on this machine, and nobody else."""

    def __init__(self, app: ASGIApp, limits: GuardLimits, keys: KeyRing | None = None) -> None:
        self._app, self._limits, self._keys = app, limits, keys
        self._budget = BufferBudget(limits.body.max_buffered_bytes)
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "there are no websockets here"})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = self._admit(scope)
        request_id = _request_id(scope)
        scope["headers"] = [*_clean(scope["headers"]), (b"x-request-id", request_id.encode())]
        reply = Reply(send, request_id)
        if isinstance(caller, Problem):
            await reply.refuse(caller)
        elif scope["path"] in OPEN_PATHS:
            await self._probe(scope, caller, receive, reply)
        elif self._full:
            await reply.refuse(_FULL)
        else:
            await self._with_body(scope, caller, receive, reply)

    async def _probe(self, scope: Scope, caller: str, receive: Receive, reply: Reply) -> None:
        """Health and readiness: Serve lets requests wait for a replica that is still starting, a probe needs an answer."""
        try:
            async with asyncio.timeout(self._limits.probe_s):
                await self._pass_on(scope, caller, receive, reply)
        except TimeoutError:
            await reply.refuse(Problem("not-ready", "The service is still starting, or does not answer.", retry_after_s=2))

    async def _with_body(self, scope: Scope, caller: str, receive: Receive, reply: Reply) -> None:
        """Read the whole body before anything else sees the request, so that slow or huge ones cost only this proxy."""
        try:
            body = await read_body(Headers(scope=scope), receive, self._limits.body, self._budget)
        except BodyRefused as refused:
            if refused.problem is not None:
                await reply.refuse(refused.problem)
            return
        if self._full:  # many may have sent their bodies at the same time
            await reply.refuse(_FULL)
            return
        self._in_flight += 1
        try:
            await self._pass_on(scope, caller, receive if body is None else _replay(body, receive), reply)
        finally:
            self._in_flight -= 1

    @property
    def _full(self) -> bool:
        return self._in_flight >= self._limits.max_in_flight

    async def _pass_on(self, scope: Scope, caller: str, receive: Receive, reply: Reply) -> None:
        scope["headers"].append((CALLER_HEADER, caller.encode()))
        await self._app(scope, receive, reply.send)
        await reply.finish()

    def _admit(self, scope: Scope) -> str | Problem:
        """Who calls, or why nobody answers."""
        headers = Headers(scope=scope)
        if scope["path"].startswith("/-/") and scope["path"] not in OPEN_PATHS:
            return Problem("not-found", "There is nothing at this address; see /openapi.json.")
        if scope["path"] in OPEN_PATHS:
            return "anybody"
        if self._keys is None:
            return _admit_local(scope, headers)
        scheme, _, key = headers.get("authorization", "").partition(" ")
        name = self._keys.owner(key.strip()) if scheme.lower() == "bearer" else None
        if name is None:
            detail = "Send Authorization: Bearer KEY with a key that the operator gave you."
            return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="bfs"'})
        return name


def _admit_local(scope: Scope, headers: Headers) -> str | Problem:
    """Without keys: only connections to a loopback address, named as such, and not sent by some web page."""
    server = scope.get("server")
    if server is None or not is_loopback(server[0]):
        return Problem("forbidden", f"This service has no API keys, so it answers on loopback only; set {KEYS_FILE_VARIABLE}.")
    host = headers.get("host", "")
    if not is_loopback(_split(f"//{host}").hostname or ""):  # else a name that resolves to 127.0.0.1 lets any page in
        return Problem("forbidden", "The Host header does not name this machine; use localhost or 127.0.0.1.")
    origin = headers.get("origin")
    if origin is not None and _split(origin).netloc != host:
        return Problem("forbidden", "Requests from the pages of other sites are not answered.")
    return "local"


def _split(address: str) -> SplitResult:
    """The parts of an address; of what is none, empty ones, which name no place."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine, without asking a name server."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _request_id(scope: Scope) -> str:
    """The caller's id for the request, unless it could break or flood a log; else one of ours."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _clean(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Drop what only the inside may say, and the key, which nobody behind the guard needs."""
    kept = []
    for name, value in headers:
        plain = name.lower().replace(b"_", b"-")
        if plain not in _STRIPPED and not plain.startswith(b"x-bfs-"):
            kept.append((name, value))
    return kept


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the buffered body once, then what the server says (the client's disconnection)."""
    waiting: list[bytes] = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
