"""The edge guard over a recording ASGI application: headers, bodies, keys, loopback, answers."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from bfs_serve.edge_body import BodyLimits
from bfs_serve.guard import Guard, GuardLimits, is_loopback, middlewares
from bfs_serve.keys import KeyRing, hash_key

LIMITS = GuardLimits(BodyLimits(max_bytes=100, max_buffered_bytes=150, grace_s=0.2, min_bytes_per_s=1000), max_in_flight=2, probe_s=0.2)
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


def test_headers_that_serve_obeys_are_stripped() -> None:
    """Timeout, cancellation, routing and our own inner headers never come from outside, however they are spelled."""
    inside = Inside()
    evil = {
        "X-Request-Timeout-Seconds": "0",
        "x-request-disconnect-disabled": "?1",
        "serve_multiplexed_model_id": "a",
        "x-session-id": "a",
        "x_session_id": "a",
        "X-BFS-Caller": "admin",
        "x_bfs_caller": "admin",
        "x-request-id": "a b\x01",
        "Accept": "image/png",
    }
    assert get(inside, headers=evil).status == 200
    kept = inside.headers()
    assert set(kept) == {"host", "accept", "x-request-id", "x-bfs-caller"}
    assert kept["x-bfs-caller"] == "local" and len(kept["x-request-id"]) == 36


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("a" * 65, False), ("\xff", False), ("", False)])
def test_a_sane_request_id_is_kept(given: str, kept: bool) -> None:
    """It ends up in logs, so it is short and plain."""
    inside = Inside()
    get(inside, headers={"x-request-id": given})
    assert (inside.headers()["x-request-id"] == given) is kept


def test_a_body_within_limits_arrives_whole() -> None:
    """In as many pieces as it came."""
    inside = Inside()
    assert get(inside, headers={"content-length": "6"}, chunks=[b"ab", b"cd", b"ef"]).body == b"inside"
    assert inside.bodies == [b"abcdef"]


def test_an_announced_large_body_is_refused_unread() -> None:
    """413 before one byte is read."""
    inside = Inside()
    for length in ("101", "9" * 40):
        answer = get(inside, headers={"content-length": length}, chunks=[b"x"] * 1000)
        assert answer.problem()["type"].endswith("too-large") and answer.headers["connection"] == "close"
    assert inside.scopes == []


def test_an_unannounced_large_body_is_refused_while_it_streams() -> None:
    """413 as soon as the limit is passed."""
    inside = Inside()
    assert get(inside, headers={"transfer-encoding": "chunked"}, chunks=[b"x" * 60, b"x" * 60]).status == 413
    assert inside.scopes == []


def test_a_slow_body_is_refused() -> None:
    """408 after the grace period; a sender that keeps the pace may take longer than that."""
    inside = Inside()
    assert get(inside, headers={"content-length": "100"}, chunks=[b"x"] * 100, pause_s=0.05).problem()["status"] == 408
    assert inside.scopes == []
    assert get(inside, headers={"content-length": "90"}, chunks=[b"x" * 30] * 3, pause_s=0.04).status == 200


def test_uploads_share_a_budget() -> None:
    """Bodies being read at once are bounded together; afterwards there is room again."""

    async def main() -> None:
        guard = Guard(Inside(), LIMITS)
        upload = {"headers": {"content-length": "90"}, "chunks": [b"x" * 80, b"x" * 10], "pause_s": 0.02}
        answers = await asyncio.gather(*(ask(guard, **upload) for _ in range(2)))
        assert sorted(a.status for a in answers) == [200, 503]
        assert next(a for a in answers if a.status == 503).headers["retry-after"] == "2"
        assert (await ask(guard, **upload)).status == 200

    asyncio.run(main())


async def slow(send: Send) -> None:
    """Answers 200 after a while."""
    await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


def test_requests_in_flight_are_capped_and_probes_still_answered() -> None:
    """The third request at once is 503 with Retry-After; /healthz is not counted."""

    async def main() -> None:
        guard = Guard(Inside(slow), LIMITS)
        answers = await asyncio.gather(*(ask(guard) for _ in range(3)), ask(guard, path="/healthz"))
        assert [a.status for a in answers] == [200, 200, 503, 200]
        assert answers[2].headers["retry-after"] == "1"
        assert (await ask(guard)).status == 200

    asyncio.run(main())


def test_requests_whose_bodies_end_together_are_capped_too() -> None:
    """None was being answered yet when their heads came."""

    async def main() -> None:
        guard = Guard(Inside(slow), LIMITS)
        upload = {"headers": {"content-length": "20"}, "chunks": [b"x" * 10, b"x" * 10], "pause_s": 0.02}
        answers = await asyncio.gather(*(ask(guard, **upload) for _ in range(4)))
        assert sorted(a.status for a in answers) == [200, 200, 503, 503]

    asyncio.run(main())


def test_a_probe_is_answered_while_the_service_starts() -> None:
    """Serve would let it wait for a replica."""

    async def never(send: Send) -> None:
        await asyncio.sleep(3600)

    answer = get(Inside(never), path="/readyz", method="GET")
    assert answer.problem()["type"].endswith("not-ready") and answer.headers["retry-after"] == "2"


@pytest.mark.parametrize(("path", "status"), [("/-/routes", 404), ("/-/anything", 404), ("/-/healthz", 200), ("/healthz", 200)])
def test_serves_own_routes_are_hidden(path: str, status: int) -> None:
    """Except the one that load balancers ask."""
    assert get(Inside(), path=path, method="GET").status == status


@pytest.mark.parametrize(
    ("server", "headers"),
    [
        ("192.0.2.1", {}),
        ("::", {}),
        ("127.0.0.1", {"host": "evil.example:8000"}),
        ("127.0.0.1", {"host": ""}),
        ("127.0.0.1", {"host": "["}),
        ("127.0.0.1", {"origin": "http://["}),
        ("127.0.0.1", {"origin": "https://evil.example"}),
        ("127.0.0.1", {"origin": "null"}),
        ("127.0.0.1", {"origin": "http://127.0.0.1:9999"}),
    ],
)
def test_without_keys_only_this_machine_is_answered(server: str, headers: Headers) -> None:
    """No other address, no name that resolves to loopback, no page of another site."""
    inside = Inside()
    assert get(inside, server=server, headers=headers).status == 403
    assert inside.scopes == []


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "127.9.9.9:1"])
def test_loopback_by_any_name_is_answered(host: str) -> None:
    """With the page's own origin, too."""
    assert get(Inside(), headers={"host": host, "origin": f"http://{host}"}).status == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_judged_without_a_name_server(host: str, loopback: bool) -> None:
    """All other names may mean anything."""
    assert is_loopback(host) is loopback


def test_with_keys_anybody_who_has_one_is_answered(tmp_path: Path) -> None:
    """From anywhere; the key's name goes in, the key does not. Probes need none."""
    path = tmp_path / "keys"
    path.write_text(f"ann {hash_key('secret')}\n")
    keys, inside = KeyRing(path), Inside()
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"}, {"authorization": "Bearer"}):
        answer = get(inside, keys=keys, server="192.0.2.1", headers=headers)
        assert answer.problem()["status"] == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert inside.scopes == []
    assert get(inside, keys=keys, server="192.0.2.1", headers={"authorization": "bearer secret", "host": "api.example"}).status == 200
    assert inside.headers()["x-bfs-caller"] == "ann" and "authorization" not in inside.headers()
    assert get(inside, keys=keys, server="192.0.2.1", path="/readyz").status == 200


def test_answers_carry_security_headers() -> None:
    """On what comes from inside, and on refusals; what the inside sets stays."""

    async def cached(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=5")]})
        await send({"type": "http.response.body"})

    for answer in (get(Inside()), get(Inside(), path="/-/routes")):
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert get(Inside(cached)).headers["cache-control"] == "max-age=5"


@pytest.mark.parametrize(("status", "slug"), [(503, "busy"), (408, "request-timeout"), (500, "internal"), (404, "not-found")])
def test_what_serve_says_in_plain_text_becomes_a_problem(status: int, slug: str) -> None:
    """Its text, which names inner parts, is dropped."""

    async def plain(send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Deployment inner failed", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    answer = get(Inside(plain))
    assert answer.problem()["type"].endswith(slug) and b"inner" not in answer.body
    assert ("retry-after" in answer.headers) is (status == 503)


def test_an_answer_that_never_begins_is_a_retryable_problem() -> None:
    """Serve sends nothing when the worker died."""

    async def nothing(send: Send) -> None:
        return

    answer = get(Inside(nothing))
    assert answer.problem()["status"] == 503 and answer.headers["retry-after"] == "1"


def test_websockets_are_refused() -> None:
    """There are none here."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    inside = Inside()
    asyncio.run(Guard(inside, LIMITS)({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert [m["type"] for m in sent] == ["websocket.close"] and inside.scopes == []


def test_a_client_that_leaves_while_sending_is_dropped() -> None:
    """Nothing reaches the inside, nothing is answered, and its bytes are given back."""
    inside, sent = Inside(), []
    messages = [{"type": "http.request", "body": b"x" * 80, "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(inside, LIMITS)
    headers = [(b"host", b"localhost"), (b"content-length", b"90")]
    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/layers", "headers": headers, "server": ("127.0.0.1", 1)}
    asyncio.run(guard(scope, receive, send))
    assert inside.scopes == [] and sent == [] and guard._budget.held == 0


def test_the_proxy_gets_one_middleware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Configured by the environment; a keys file that cannot be read keeps the proxy from starting."""
    monkeypatch.setenv("BFS_MAX_BODY_BYTES", "1000")
    (middleware,) = middlewares()
    assert middleware.cls is Guard and middleware.kwargs["limits"].body.max_bytes == 1000 and middleware.kwargs["keys"] is None
    monkeypatch.setenv("BFS_API_KEYS_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="BFS_API_KEYS_FILE"):
        middlewares()
