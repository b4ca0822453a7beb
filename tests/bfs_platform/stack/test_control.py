"""What is refused before anything starts, and processes that are ended by their mark."""

import dataclasses
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bfs_model.errors import BadInput
from bfs_platform.jobs import Failure
from bfs_platform.stack import control, marked, parts, state, storage
from bfs_platform.stack.program import Program
from bfs_platform.stack.state import Settings, Stack, alone

# Ends at once when told so, and leaves a child in a session of its own that does not.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {DEAF!r}], start_new_session=True); time.sleep(600)"


def _program(code: str, **settings: object) -> Program:
    common: dict[str, Any] = {"url": "nowhere", "version": lambda: "1", "problem": lambda: None, "grace_s": 0.5}
    return Program("part", [sys.executable, "-c", code], os.environ, **common | settings)


def _stack(folder: Path) -> Stack:
    return Stack.new(folder, Settings())


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"profile": "huge"}, "profile=huge is not known"),
        ({"ports": ["servce=1"]}, "port=servce=1 names no port of the stack"),
        ({"ports": ["service=0"]}, "port=service=0 is not a port"),
        ({"ports": ["service=99999"]}, "port=service=99999 is not a port"),
        ({"ports": ["service=5000"]}, "is given to two parts"),
        ({"workers": 99}, "workers=99 is not a number of nodes for one machine"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, given: dict[str, object], rule: str) -> None:
    """Before anything starts, in one line."""
    with pytest.raises(BadInput, match=rule):
        control.up(tmp_path / "stack", **given)  # type: ignore[arg-type]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Somebody else listens where MLflow should: the line says how to choose another port, and nothing was started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BadInput, match=r"is in use; choose another with --port mlflow=PORT"):
            control.up(tmp_path / "stack", ports=[f"mlflow={other.getsockname()[1]}"])
    assert {row.state for row in control.status(tmp_path / "stack")} == {"stopped"}
    assert control.down(tmp_path / "stack") and control.status(tmp_path / "stack") == []


def test_the_full_profile_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not installed is named before anything starts."""
    monkeypatch.setattr(marked, "program", lambda *names: None)
    with pytest.raises(BadInput, match="profile=full needs PostgreSQL, which is not installed"):
        storage.check_installed()


def test_two_commands_do_not_work_on_one_stack(tmp_path: Path) -> None:
    """The second one is told to wait."""
    with alone(tmp_path / "stack"), pytest.raises(BadInput, match="is being worked on"):
        control.down(tmp_path / "stack")


def test_a_foreign_file_is_not_taken_for_a_stack(tmp_path: Path) -> None:
    """One line that names it."""
    (tmp_path / "stack.json").write_text(json.dumps({"records": {}}))
    with pytest.raises(BadInput, match="does not describe a stack"):
        control.status(tmp_path)


def test_descendants_in_sessions_of_their_own_end_too(tmp_path: Path) -> None:
    """The program ends on SIGTERM; what it started and does not listen is killed."""
    stack, program = _stack(tmp_path), _program(PARENT)
    program.start(stack)
    deadline = time.monotonic() + 20
    while len(marked.marked(stack.mark)) < 2 or b"deaf" not in program.log(stack).read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert program.state(stack) == "up"
    assert len(program.stop(stack)) == 1 and marked.marked(stack.mark) == [] and program.state(stack) == "stopped"


def test_a_dead_program_is_seen_and_its_children_are_swept(tmp_path: Path) -> None:
    """Killed from outside: its state says so, it is not well, and stopping it ends what it left behind."""
    stack, program = _stack(tmp_path), _program(PARENT)
    program.start(stack)
    while len(marked.marked(stack.mark)) < 2:
        time.sleep(0.05)
    os.kill(stack.records["part"].started.pid, signal.SIGKILL)
    os.waitpid(stack.records["part"].started.pid, 0)
    assert program.state(stack).startswith("died; see ") and not program.is_well(stack)
    program.stop(stack)
    assert marked.marked(stack.mark) == []


def test_a_program_that_ends_while_starting_is_explained(tmp_path: Path) -> None:
    """The last line that it printed, and where the rest is."""
    with pytest.raises(Failure, match=r"part ended before it answered: no room; see .*part\.log"):
        _program("print('no room')", problem=lambda: "silence").start(_stack(tmp_path))


def test_an_id_that_the_system_gave_away_is_not_ours(tmp_path: Path) -> None:
    """The same id with another time of creation is another process, and no signal goes there."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert not marked.Started(stranger.pid, 1.0).runs
        assert marked.end(marked.Started(stranger.pid, 1.0), "no-such-mark", 0.1) == [] and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_where_names_of_sockets_would_be_too_long_ray_goes_elsewhere(tmp_path: Path) -> None:
    """A deep folder keeps everything but Ray's sessions."""
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    assert _stack(deep).ray_folder.parent == Path("/tmp")
    with tempfile.TemporaryDirectory(dir="/tmp") as near:
        assert _stack(Path(near)).ray_folder == Path(near, "ray")


def test_settings_outlive_the_stack(tmp_path: Path) -> None:
    """Ports and profile that were chosen once are those of the next `bfs up`; its processes are forgotten."""
    chosen = Settings(profile="full").changed(None, "tiny", ["service=8080"])
    stack = Stack.new(tmp_path, chosen)
    stack.save()
    stack.forget()
    assert Stack.load(tmp_path) is None and Stack.last_settings(tmp_path) == chosen
    assert Stack.last_settings(tmp_path / "nowhere") == Settings()


def test_a_stack_on_a_full_disk_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be written down: all of it ends, nothing is taken for running afterwards, and that settings were lost is told."""
    stack = _stack(tmp_path)
    stack.save()
    dataclasses.replace(_program("import time; time.sleep(600)"), name="mlflow").start(stack)
    monkeypatch.setattr(state, "write_whole", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    assert control.down(tmp_path) and marked.marked(stack.mark) == []
    assert Stack.load(tmp_path) is None and "settings could not be kept (No space left on device)" in capsys.readouterr().err


def test_workers_are_parts_that_come_and_go(tmp_path: Path) -> None:
    """One part per node, after the head; who is not wanted any more is ended by the next `up`."""
    stack = _stack(tmp_path)
    stack.settings = stack.settings.changed(None, None, None, workers=2)
    names = [part.name for part in parts.programs(stack)]
    assert names[names.index("ray") :][:3] == ["ray", "ray-worker-1", "ray-worker-2"]
    node = _program("import time; time.sleep(600)")
    node = dataclasses.replace(node, name="ray-worker-2")
    node.start(stack)
    stack.settings = stack.settings.changed(None, None, None, workers=1)
    control._end_surplus(stack)
    assert "ray-worker-2" not in stack.records and marked.marked(stack.mark) == []
