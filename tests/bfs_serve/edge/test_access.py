"""The edge guard: who may call, and how the inside learns who it was."""

import asyncio
from pathlib import Path

import pytest
from starlette.types import Message

from bfs_serve.edge.loopback import is_loopback
from bfs_serve.edge.signature import SECRET_VARIABLE, CallerFacts, secret, verified
from bfs_serve.guard import Guard
from bfs_serve.keys import KeyRing, hash_key

from .inside import LIMITS, Headers, Inside, get


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
    assert inside.caller() == CallerFacts("ann") and "authorization" not in inside.headers()
    assert get(inside, keys=keys, server="192.0.2.1", path="/readyz", method="GET").status == 200
    assert inside.caller() == CallerFacts("anybody", scopes=())


@pytest.mark.parametrize(
    ("scopes", "opens"),
    [("draw", {"POST", "DELETE"}), ("read", {"GET"}), ("metrics", {"/metrics"}), ("draw,read", {"POST", "DELETE", "GET"})],
)
def test_a_key_is_good_for_its_scopes(tmp_path: Path, scopes: str, opens: set[str]) -> None:
    """Anything else is 403, and never reaches the inside; its rate travels with its name."""
    path = tmp_path / "keys"
    path.write_text(f"ann {hash_key('secret')} scopes={scopes} rate=5/minute\n")
    keys, key = KeyRing(path), {"authorization": "Bearer secret"}
    asked = {
        "POST": ("POST", "/v1/layers"),
        "GET": ("GET", "/v1/jobs"),
        "DELETE": ("DELETE", "/v1/jobs/1"),
        "/metrics": ("GET", "/metrics"),
    }
    for name, (method, where) in asked.items():
        inside = Inside()
        answer = get(inside, keys=keys, path=where, method=method, headers=key)
        assert (answer.status, len(inside.scopes)) == ((200, 1) if name in opens else (403, 0)), name
        assert name not in opens or inside.caller() == CallerFacts("ann", tuple(scopes.split(",")), "5/minute")


def test_a_caller_is_signed_for_one_request() -> None:
    """Neither another name, nor the same words on another request, nor under another secret are believed."""
    inside = Inside()
    get(inside, headers={"x-request-id": "one"})
    said, key = inside.headers()["x-bfs-caller"], secret()
    assert key is not None and verified(said, "one", key) == CallerFacts("local")
    body, _, mac = said.partition(".")
    for value, request_id, by in [
        (said, "two", key),
        (said, "one", b"theirs"),
        (f"{body}x.{mac}", "one", key),
        ("", "one", key),
        ("\xff", "one", key),
    ]:
        assert verified(value, request_id, by) is None


def test_without_a_secret_nobody_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The service then refuses by itself; a header that anybody could have written would be worse."""
    monkeypatch.delenv(SECRET_VARIABLE)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    inside = Inside()
    get(inside)
    assert "x-bfs-caller" not in inside.headers()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the cluster's")
    get(inside)
    assert inside.caller() == CallerFacts("local")


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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/studio", 200),
        ("GET", "/studio/assets/index.js", 200),
        ("HEAD", "/studio/", 200),
        ("POST", "/studio/", 401),
        ("GET", "/studios", 401),
        ("GET", "/v1/models", 401),
    ],
)
def test_the_studio_loads_without_a_key(tmp_path: Path, method: str, path: str, status: int) -> None:
    """The page is the same for everybody; what it asks for needs a key as ever."""
    file = tmp_path / "keys"
    file.write_text(f"alice {hash_key('k' * 40)} scopes=draw,read\n")
    inside = Inside()
    assert get(inside, keys=KeyRing(file), method=method, path=path).status == status
    assert len(inside.scopes) == (status == 200)
