"""The edge guard over a recording ASGI application: headers, bodies, places, answers."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.types import Message, Scope, Send

from bfs_serve.edge.signature import CallerFacts
from bfs_serve.guard import Guard, middlewares
from bfs_serve.keys import KeyRing, hash_key

from .inside import LIMITS, Inside, ask, get


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
    assert inside.caller() == CallerFacts("local") and len(kept["x-request-id"]) == 36


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
        answers = await asyncio.gather(*(ask(guard) for _ in range(3)), ask(guard, path="/healthz", method="GET"))
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


def test_followers_work_and_control_have_places_of_their_own() -> None:
    """Whoever fills one of them keeps nobody from the others: a job can be canceled while all places of followers are taken."""

    async def main() -> None:
        guard = Guard(Inside(slow), LIMITS)
        job = "/v1/jobs/" + "0" * 32
        followers = [ask(guard, path=f"{job}/events", method="GET") for _ in range(3)]
        work = [ask(guard) for _ in range(3)]
        control = [ask(guard, path=job, method=method) for method in ("DELETE", "GET", "GET")]
        answers = [a.status for a in await asyncio.gather(*followers, *work, *control)]
        assert answers == [200, 200, 503] * 3

    asyncio.run(main())


def test_one_caller_leaves_places_for_others(tmp_path: Path) -> None:
    """Where callers have keys: of four places three. Without keys there is one caller, whose places they all are."""
    (tmp_path / "keys").write_text("".join(f"{name} {hash_key(name)}\n" for name in ("ann", "bob")))
    limits = replace(LIMITS, max_in_flight=4)

    async def main() -> None:
        guard = Guard(Inside(slow), limits, KeyRing(tmp_path / "keys"))
        keys = {name: {"authorization": f"Bearer {name}"} for name in ("ann", "bob")}
        answers = await asyncio.gather(*(ask(guard, headers=keys[name]) for name in ("ann", "ann", "ann", "ann", "bob", "bob")))
        assert [a.status for a in answers] == [200, 200, 200, 429, 200, 503]
        assert answers[3].headers["retry-after"] == "1"
        assert (await ask(guard, headers=keys["ann"])).status == 200 and not guard._of_callers
        alone = Guard(Inside(slow), limits)
        assert [a.status for a in await asyncio.gather(*(ask(alone) for _ in range(4)))] == [200] * 4

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/-/healthz"])
def test_a_probe_has_no_body_and_asks_only(path: str) -> None:
    """What is sent as one is never read, however long it is; nothing but GET, HEAD and OPTIONS comes through."""
    inside = Inside()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = get(inside, path=path, method=method, headers={"content-length": "9" * 12}, chunks=[b"x" * 90] * 50)
        assert answer.problem()["status"] == 405 and answer.headers["allow"] == "GET, HEAD, OPTIONS"
        assert answer.headers["connection"] == "close"
    assert inside.scopes == []
    assert get(inside, path=path, method="GET", headers={"content-length": "90"}, chunks=[b"x" * 90] * 50).status == 200
    assert inside.bodies == [b""]


def test_a_probe_is_answered_while_the_service_starts() -> None:
    """Serve would let it wait for a replica."""

    async def never(send: Send) -> None:
        await asyncio.sleep(3600)

    answer = get(Inside(never), path="/readyz", method="GET")
    assert answer.problem()["type"].endswith("not-ready") and answer.headers["retry-after"] == "2"


def test_answers_carry_security_headers() -> None:
    """On what comes from inside, and on refusals; what the inside sets stays."""

    async def cached(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=5")]})
        await send({"type": "http.response.body"})

    for answer in (get(Inside()), get(Inside(), path="/-/routes")):
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert get(Inside(cached)).headers["cache-control"] == "max-age=5"


@pytest.mark.parametrize(("status", "slug"), [(503, "busy"), (408, "request-timeout"), (500, "interrupted"), (404, "not-ready")])
def test_what_serve_says_in_plain_text_becomes_a_problem(status: int, slug: str) -> None:
    """Its text, which names inner parts, is dropped. A replica that it lost (500), or an application that a new proxy has not heard of
    yet (404), is there again soon, and clients are told to come again."""

    async def plain(send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Deployment inner failed", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    answer = get(Inside(plain))
    assert answer.problem()["type"].endswith(slug) and b"inner" not in answer.body
    assert ("retry-after" in answer.headers) is (answer.problem()["status"] == 503) is (status != 408)


def test_an_answer_that_never_begins_is_a_retryable_problem() -> None:
    """Serve sends nothing when the worker died."""

    async def nothing(send: Send) -> None:
        return

    answer = get(Inside(nothing))
    assert answer.problem()["status"] == 503 and answer.headers["retry-after"] == "1"


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
