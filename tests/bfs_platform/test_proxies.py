"""Proxies in the environment: not for this machine, and named when they cannot be used."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bfs_model.errors import BadInput
from bfs_platform.cli.client import asking
from bfs_platform.proxies import check_proxy, goes_direct, spare_loopback
from bfs_platform.tracking.server import mlflow_server
from bfs_platform.tracking.uri import connect

NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
AWAY = "http://bfs.example.org:8000"
# Nobody listens there, and no package for SOCKS is installed.
DEAD = {"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what the tested code sets is undone as well
        monkeypatch.delenv(name)


@pytest.fixture
def dead_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine behind proxies that are away."""
    for name, value in DEAD.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("given", ["", "example.org", "localhost, 10.0.0.0/8"])
def test_loopback_is_added_and_the_rest_kept(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two names a library reads, it finds the user's hosts and this machine; twice changes nothing."""
    monkeypatch.setenv("NO_PROXY", given)
    spare_loopback()
    once = os.environ["NO_PROXY"]
    spare_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == once
    names = once.split(",")
    assert {"127.0.0.1", "localhost", "::1"} <= set(names) and len(names) == len(set(names))
    assert all(name.strip() in names for name in given.split(",") if name)


def test_mlflow_on_this_machine_is_reached_directly(tmp_path: Path, dead_proxies: None) -> None:
    """A tracking server starts and answers while every proxy is dead."""
    with mlflow_server(tmp_path) as uri:
        assert len(connect(uri).search_experiments()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
def test_this_machine_goes_direct(host: str, dead_proxies: None) -> None:
    """All names of the loopback interface."""
    assert goes_direct(f"http://{host}:8000/v1") and not goes_direct(AWAY)


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("HTTP_PROXY", "http://user:secret@[broken", "http://[broken"),
        ("http_proxy", "http://", "http://"),
        ("ALL_PROXY", "http://proxy:port", "http://proxy:port"),
        ("HTTP_PROXY", "ftp://proxy:21", "ftp://proxy:21"),
        ("all_proxy", "two words", "two words"),
    ],
)
@pytest.mark.parametrize("library", ["requests", "httpx2"])
def test_a_malformed_proxy_is_named(variable: str, value: str, shown: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the variable, and without the password in it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput, match="is not the address of a proxy") as refused:
        check_proxy(AWAY, library)
    assert (refused.value.key, refused.value.value) == (variable, shown)


@pytest.mark.parametrize(("library", "module"), [("requests", "socks"), ("httpx2", "socksio")])
def test_socks_without_its_package_is_named(library: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says which package is missing; hosts that NO_PROXY names need none."""
    assert find_spec(module) is None, "the environment is not supposed to hold it"
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example.org:1080")
    with pytest.raises(BadInput, match="SOCKS needs the package") as refused:
        check_proxy(AWAY, library)
    assert refused.value.key == "ALL_PROXY"
    monkeypatch.setenv("NO_PROXY", "example.org")
    check_proxy(AWAY, library)


def test_only_the_client_that_prepares_all_proxies_minds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """requests never looks at the proxy for https on the way to an http address; httpx2 would fail over it."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy:21")
    check_proxy(AWAY, "requests")
    with pytest.raises(BadInput):
        check_proxy(AWAY, "httpx2")


def test_a_service_elsewhere_behind_an_unusable_proxy(dead_proxies: None) -> None:
    """`bfs generate --url` names the variable before it sends anything."""
    with pytest.raises(BadInput, match=r"ALL_PROXY=socks5://127.0.0.1:1 cannot be used"), asking(AWAY):
        pass


def test_a_registry_elsewhere_behind_an_unusable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does whoever asks an MLflow server."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(BadInput, match="PySocks"):
        connect("http://mlflow.example.org:5000")


def test_drawing_needs_no_proxy(bare_env: dict[str, str], tmp_path: Path) -> None:
    """`bfs generate` by itself talks to nobody: dead and impossible proxies do not matter."""
    from PIL import Image

    Image.new("RGB", (64, 64), "grey").save(tmp_path / "b.png")
    command = [str(Path(sys.executable).parent / "bfs"), "generate", "--model", "fake", "--background", "b.png", "--box", "8,8,40,40"]
    command += ["--prompt", "a red ball", "--output", "layer.png"]
    done = subprocess.run(command, env=bare_env | DEAD, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
