"""The edge guard: pure ASGI in front of Serve's proxy, where requests can still be refused cheaply.

Serve itself has no limit on bodies, honours headers with which any caller switches off timeouts and cancellation, and has
no keys. Load it with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=bfs_serve.guard:middlewares in the environment of the nodes.
Closed by default: without a keys file only loopback connections are answered.
"""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bfs_serve.edge.admission import Admission
from bfs_serve.edge.body import BodyLimits, BodyRefused, BufferBudget, no_body, read_body, replayed
from bfs_serve.edge.loopback import admit_local
from bfs_serve.edge.reply import Reply
from bfs_serve.edge.signature import HEADER, CallerFacts, secret, signed
from bfs_serve.edge.watch import Visit, Watch
from bfs_serve.keys import KEYS_FILE_VARIABLE, KeyRing
from bfs_serve.problems import Problem
from bfs_serve.telemetry import logs
from bfs_serve.telemetry.amounts import Amounts

OPEN_PATHS = ("/healthz", "/readyz", "/-/healthz")
# The page is the same for everybody and asks for the key itself.
_STUDIO = "/studio"
# Serve obeys the first two from anybody and routes by the next two; spelled with - here, as Serve takes _ for it in some.
_STRIPPED = (
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
    b"x-request-id",
    b"authorization",
    b"traceparent",
    b"tracestate",
)
_MAX_BODY_VARIABLE = "BFS_MAX_BODY_BYTES"
_MAX_IN_FLIGHT_VARIABLE = "BFS_MAX_IN_FLIGHT"
_FULL = Problem("busy", "Too many requests are being answered; try again in 1 s.", retry_after_s=1)
_FULL_FOR_CALLER = Problem("too-many-requests", "Too many of your requests are being answered; try again in 1 s.", retry_after_s=1)
_SHARE = 0.75  # of the places of a class, at most, for one caller
_ANYBODY = CallerFacts("anybody", scopes=())
_SCOPE_OF_METHOD = {"GET": "read", "HEAD": "read", "OPTIONS": "read"}
# What occupies a place here, each with places of its own: work that is waited for, followers of events, and all that is short.
WORK, FOLLOWER, CONTROL = "work", "follower", "control"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What one proxy takes on: bodies, and requests of each class being answered at once."""

    body: BodyLimits = field(default_factory=BodyLimits)
    max_in_flight: int = 256
    max_followers: int = 512
    probe_s: float = 4.0

    def places(self, kind: str) -> int:
        """How many requests of a class may be answered at once."""
        return self.max_followers if kind == FOLLOWER else self.max_in_flight

    @classmethod
    def from_env(cls) -> "GuardLimits":
        body = BodyLimits(max_bytes=int(os.environ.get(_MAX_BODY_VARIABLE, BodyLimits().max_bytes)))
        return cls(body, int(os.environ.get(_MAX_IN_FLIGHT_VARIABLE, cls().max_in_flight)))


def middlewares() -> list[Any]:
    """Called by Serve's proxy when it starts. A bad keys file keeps it from starting."""
    from starlette.middleware import Middleware

    logs.configure()
    path = os.environ.get(KEYS_FILE_VARIABLE)
    return [Middleware(Guard, limits=GuardLimits.from_env(), keys=KeyRing(path) if path else None)]


class Guard:
    """ASGI middleware. `keys`: who may call; None: anybody on this machine, and nobody else."""

    def __init__(self, app: ASGIApp, limits: GuardLimits, keys: KeyRing | None = None) -> None:
        self._app, self._limits, self._keys = app, limits, keys
        self._budget = BufferBudget(limits.body.max_buffered_bytes)
        self._in_flight: Counter[str] = Counter()
        self._of_callers: Counter[tuple[str, str]] = Counter()
        self._admission = Admission()
        self._secret = secret()
        self._watch = Watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "there are no websockets here"})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = self._admit(scope)
        request_id = logs.request_id(Headers(scope=scope).get("x-request-id"))
        visit = self._watch.arrived(scope, request_id, _class_of(scope))
        known = [(b"x-request-id", request_id.encode()), (b"traceparent", visit.span.traceparent.encode())]
        scope["headers"] = [*_clean(scope["headers"]), *(header for header in known if header[1])]
        reply = Reply(send, request_id)
        try:
            if isinstance(caller, Problem):
                await reply.refuse(caller)
            else:
                visit.caller = caller.name
                await self._admitted(scope, caller, receive, reply, visit)
        finally:
            self._watch.answered(visit, reply)

    async def _admitted(self, scope: Scope, caller: CallerFacts, receive: Receive, reply: Reply, visit: Visit) -> None:
        if scope["path"] in OPEN_PATHS:
            await self._probe(scope, caller, receive, reply, visit)
        elif (full := self._full(visit.kind, caller.name)) is not None:
            await reply.refuse(full)
        elif visit.kind == WORK and (problem := self._admission.refusal(caller.name, _key(scope))) is not None:
            await reply.refuse(problem)
        else:
            await self._with_body(scope, caller, receive, reply, visit)

    async def _probe(self, scope: Scope, caller: CallerFacts, receive: Receive, reply: Reply, visit: Visit) -> None:
        """Health and readiness: Serve lets requests wait for a replica that is still starting, a probe needs an answer.

        A probe has no body; what comes as one is not read.
        """
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            headers = {"Allow": "GET, HEAD, OPTIONS", "Connection": "close"}
            await reply.refuse(Problem("method-not-allowed", "See the Allow header for the methods that are.", headers=headers))
            return
        try:
            async with asyncio.timeout(self._limits.probe_s):
                await self._pass_on(scope, caller, no_body(receive), reply, visit)
        except TimeoutError:
            await reply.refuse(Problem("not-ready", "The service is still starting, or does not answer.", retry_after_s=2))

    async def _with_body(self, scope: Scope, caller: CallerFacts, receive: Receive, reply: Reply, visit: Visit) -> None:
        """Read the whole body before anything else sees the request, so that slow or huge ones cost only this proxy."""
        try:
            body = await read_body(Headers(scope=scope), receive, self._limits.body, self._budget)
        except BodyRefused as refused:
            if refused.problem is not None:
                await reply.refuse(refused.problem)
            return
        if (full := self._full(kind := visit.kind, caller.name)) is not None:  # many may have sent their bodies at the same time
            await reply.refuse(full)
            return
        self._in_flight[kind] += 1
        self._of_callers[kind, caller.name] += 1
        if body is not None:
            receive = replayed(body, receive)
        del body  # who waits for an answer holds no upload here
        try:
            await self._pass_on(scope, caller, receive, reply, visit)
        finally:
            self._in_flight[kind] -= 1
            self._of_callers[kind, caller.name] -= 1
            if not self._of_callers[kind, caller.name]:
                del self._of_callers[kind, caller.name]
            if kind == WORK:
                accepted = None if reply.status is None else reply.status in (200, 202)
                self._admission.heard(caller.name, reply.no_room, accepted, _key(scope))

    def _full(self, kind: str, caller: str) -> Problem | None:
        """Why there is no place for a request of this class; where there are keys, one caller leaves others a part of them."""
        places = self._limits.places(kind)
        if self._in_flight[kind] >= places:
            return _FULL
        share = places if self._keys is None else max(1, int(places * _SHARE))
        return _FULL_FOR_CALLER if self._of_callers[kind, caller] >= share else None

    async def _pass_on(self, scope: Scope, caller: CallerFacts, receive: Receive, reply: Reply, visit: Visit) -> None:
        counts: Amounts = {}
        if self._secret is not None:
            scope["headers"].append((HEADER.encode(), signed(caller, reply.request_id, self._secret).encode()))
            counts = self._watch.hand_on(scope, visit, self._secret)
        try:
            await self._app(scope, receive, reply.send)
            await reply.finish()
        finally:
            if reply.refused is not None or reply.status is None:
                self._watch.take_back(counts)

    def _admit(self, scope: Scope) -> CallerFacts | Problem:
        """Who calls, or why nobody answers."""
        headers = Headers(scope=scope)
        if scope["path"].startswith("/-/") and scope["path"] not in OPEN_PATHS:
            return Problem("not-found", "There is nothing at this address; see /openapi.json.")
        if scope["path"] in OPEN_PATHS:
            return _ANYBODY
        if self._keys is None:
            return admit_local(scope, headers, KEYS_FILE_VARIABLE)
        if (scope["path"] + "/").startswith(_STUDIO + "/") and scope["method"] in ("GET", "HEAD"):
            return _ANYBODY
        scheme, _, key = headers.get("authorization", "").partition(" ")
        caller = self._keys.caller(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            detail = "Send Authorization: Bearer KEY with a key that the operator gave you."
            return Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="bfs"'})
        needed = "metrics" if scope["path"] == "/metrics" else _SCOPE_OF_METHOD.get(scope["method"], "draw")
        if needed not in caller.scopes:
            return Problem("forbidden", f"This key is not for that: it lacks the scope {needed}.")
        return caller


def _class_of(scope: Scope) -> str:
    """Which places a request takes."""
    if scope["method"] == "POST":
        return WORK
    return FOLLOWER if scope["path"].endswith("/events") else CONTROL


def _key(scope: Scope) -> str:
    return Headers(scope=scope).get("idempotency-key", "")


def _clean(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Drop what only the inside may say, and the key, which nobody behind the guard needs."""
    kept = []
    for name, value in headers:
        plain = name.lower().replace(b"_", b"-")
        if plain not in _STRIPPED and not plain.startswith(b"x-bfs-"):
            kept.append((name, value))
    return kept
