"""Addresses, keys and proxies: what is sent where."""

import pytest
from live_service import LiveService, answer

from bfs_model.errors import BadInput
from bfs_platform.client import BFSClient, ServiceError


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://[", ""),
        ("http://a b:x", ""),
        ("ftp://a", ""),
        ("a:8000", ""),
        ("http://127.0.0.1:1", "schlüssel"),
        ("http://127.0.0.1:1", "a\n"),
    ],
)
def test_what_cannot_be_sent(url: str, key: str) -> None:
    """Addresses and keys are refused at once, the key without being repeated."""
    with pytest.raises(BadInput) as refused:
        BFSClient(url, key)
    assert not key or (refused.value.key == "BFS_API_KEY" and key not in str(refused.value))


def test_the_key_goes_with_every_request(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The given one, else that of the environment, else none."""
    monkeypatch.setenv("BFS_API_KEY", "of-the-environment")
    for key in ("given", None, ""):
        with BFSClient(service.url + "/", key) as client:
            client.models()
    sent = [asked.headers.get("authorization") for asked in service.requests("GET", "/v1/models")]
    assert sent == ["Bearer given", "Bearer of-the-environment", None]


@pytest.mark.parametrize("place", ["{other}/v1/jobs", "//{other}/v1/jobs", "v1/jobs"])
def test_the_key_is_not_carried_elsewhere(service: LiveService, place: str) -> None:
    """A page of jobs that names another host as the next one is not followed; neither is a redirect."""
    other = service.url.replace("127.0.0.1", "localhost")
    body = f'{{"jobs": [], "next": "{place.format(other=other)}"}}'.encode()
    service.faults["GET", "/v1/jobs"] = [answer(200, body), answer(307, location=f"{other}/v1/models")]
    with BFSClient(service.url, "secret") as client:
        with pytest.raises(ServiceError, match="sent us to another place"):
            list(client.jobs())
        with pytest.raises(ServiceError, match="answered 307"):
            list(client.jobs())
    assert [asked.headers["host"] for asked in service.asked] == [service.url.removeprefix("http://")] * 2


def test_this_machine_is_asked_directly(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies that are away, or of a kind for which a package is missing, do not stand between this machine and itself."""
    for name, value in {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "example.org"}.items():
        monkeypatch.setenv(name, value)
    with BFSClient(service.url, patience_s=0) as client:
        assert client.models()
    with pytest.raises(BadInput, match=r"ALL_PROXY=socks5://127.0.0.1:1 cannot be used"):
        BFSClient("http://192.0.2.1:8000")
