"""`python -m bfs_serve` before anything is started: one line and exit code 2."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bfs_serve.__main__ import main
from bfs_serve.keys import hash_key
from bfs_serve.runtime import Address, check_port

FAKE = ["--engine", "bfs_serve.model.fake:FakeEngine", "--model", "fake"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs and pictures of these tests lie in a home of their own."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "/no/such/model"], "model=/no/such/model is not a folder"),
        ([*FAKE[:2], "--model", "missing"], "model=missing does not exist"),
        (["--engine", "nothing"], "engine=nothing"),
        (["--min-replicas", "3"], "min_replicas=3 is more than max_replicas=2"),
        (["--key-ttl-s", "60"], "key_ttl_s=60.0 is shorter than result_ttl_s=3600: a key would be forgotten"),
        (["--max-queued", "-1"], "max_queued"),
        (["--max-queued", "many"], "max_queued"),
        (["--max-queued", "0"], "max_queued"),
        (["--result-ttl-s", "inf"], "result_ttl_s"),
        (["--cpus-per-replica", "inf"], "cpus_per_replica"),
        ([*FAKE, "--host", "0.0.0.0"], "no API keys"),
        ([*FAKE, "--host", "192.0.2.77"], "no API keys"),
        ([*FAKE, "--port", "70000"], "port"),
        ([*FAKE, "--rate", "60"], "rate"),
        (["--batch", "2"], "batch=2 would change pictures by a level"),
        ([*FAKE, "--model", "fake,fake"], "names no model, or one twice"),
        ([*FAKE, "--store", "mysql://u:secret@h/d"], "store=mysql is not a kind of database"),
        ([*FAKE, "--store", "postgresql://u:secret@127.0.0.1:1/d"], "store=postgresql+psycopg://u:***@127.0.0.1:1/d cannot be opened"),
        ([*FAKE, "--store", "/dev/null/jobs.db"], "store=sqlite:////dev/null/jobs.db cannot be opened"),
        ([*FAKE, "--blobs", "/dev/null/blobs"], "blobs=/dev/null/blobs cannot be made"),
    ],
)
def test_wrong_settings_are_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started, no traceback is shown."""
    monkeypatch.delenv("BFS_API_KEYS_FILE", raising=False)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err and printed.err.count("\n") == 1 and printed.out == "" and "secret" not in printed.err


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which, and what to do, once whoever was there had the time to go."""
    monkeypatch.setattr("bfs_serve.runtime.PORT_WITHIN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([*FAKE, "--port", str(port)]) == 2
    assert f"port={port} cannot be used on 127.0.0.1" in capsys.readouterr().err


def test_a_bad_keys_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A good one would allow the address."""
    path = tmp_path / "keys"
    path.write_text("ann\n")
    monkeypatch.setenv("BFS_API_KEYS_FILE", str(path))
    assert main([*FAKE, "--host", "0.0.0.0"]) == 2
    assert "BFS_API_KEYS_FILE" in capsys.readouterr().err
    path.write_text(f"ann {hash_key('a')}\n")
    assert main([*FAKE, "--host", "0.0.0.0", "--port", "70000"]) == 2
    assert "port" in capsys.readouterr().err


def test_unknown_options_are_one_line() -> None:
    """And the start is quick: neither Ray nor torch is imported for it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bfs_serve", "--modle", "x"], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2 and len(lines) == 1 and "--modle" in lines[0]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"ray", "torch", "mlflow", "fastapi"}


def test_address_of_ipv6() -> None:
    """Brackets, as URLs want them."""
    assert Address("::1", 8000).url == "http://[::1]:8000"


def test_a_port_that_is_given_back_is_waited_for() -> None:
    """As by a service that was killed, whose processes end a moment later."""
    other = socket.create_server(("127.0.0.1", 0))
    address = Address("127.0.0.1", other.getsockname()[1])
    giving_back = threading.Timer(0.5, other.close)
    giving_back.start()
    assert not giving_back.finished.is_set()
    check_port(address)
    assert giving_back.finished.is_set()
    giving_back.join()
