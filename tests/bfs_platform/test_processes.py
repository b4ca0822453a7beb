"""Child processes never outlive their block."""

import os
import sys
import time
from pathlib import Path

import pytest

from bfs_model.errors import BadInput
from bfs_platform import demo
from bfs_platform.jobs import Failure
from bfs_platform.processes import Child


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_what_is_said_and_the_exit_code_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    """What a command says on either stream is written on stderr, the log of a program; its exit code is returned."""
    with Child([sys.executable, "-c", "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"], os.environ) as child:
        assert child.wait() == 3
    shown = capfd.readouterr()
    assert "one" in shown.err and "two" in shown.err and shown.out == ""


def test_descendants_end_with_the_block(tmp_path: Path) -> None:
    """A grandchild that nobody waits for is gone when the block is left."""
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid));"
        "print('ready', flush=True); time.sleep(600)"
    )
    with Child([sys.executable, "-c", code], os.environ) as child:
        child.wait_for("ready")
        grandchild = int((tmp_path / "pid").read_text())
        assert _alive(grandchild)
    deadline = time.monotonic() + 10
    while _alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(grandchild)


def test_a_command_that_ends_before_it_is_ready_is_an_error() -> None:
    """Waiting for a line that never comes ends with the command, and names its exit code."""
    with (
        Child([sys.executable, "-c", "print('why'); raise SystemExit(4)"], os.environ) as child,
        pytest.raises(Failure, match="exit code 4 before it was ready: why"),
    ):
        child.wait_for("ready")


def test_the_demo_replaces_a_demo_and_nothing_else(tmp_path: Path) -> None:
    """A folder with somebody's files is refused untouched; an earlier demo is replaced."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="holds no demo"):
        demo._replace(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    demo._replace(tmp_path / "demo")
    (tmp_path / "demo" / "old.txt").touch()
    demo._replace(tmp_path / "demo")
    assert not (tmp_path / "demo" / "old.txt").exists()


def test_too_few_scenes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, nothing written."""
    assert demo.main(["--scenes", "3", "--output", str(tmp_path / "demo")]) == 2
    assert "scenes=3 is too few" in capsys.readouterr().err and not (tmp_path / "demo").exists()
