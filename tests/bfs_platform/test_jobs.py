"""Exit codes of jobs, and how they reach Ray."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bfs_model.errors import BadInput
from bfs_platform.jobs import JobParser, connect_ray, exit_code, run_job


class _Wrapped(Exception):
    """As Ray raises it: the exception of the task is its `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("task failed\nwith a long traceback")
        self.cause = cause


def _raises(error: BaseException) -> Callable[[], NoReturn]:
    def main() -> NoReturn:
        raise error

    return main


def test_the_manifest_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """After success the path stands alone on the last line of stdout, whatever was printed before."""

    def main() -> Path:
        print("a word on the way")
        return Path("/data/world/manifest.json")

    with pytest.raises(SystemExit) as left:
        run_job(main)
    assert left.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == "/data/world/manifest.json"


@pytest.mark.parametrize("wrap", [lambda error: error, _Wrapped], ids=["plain", "from_a_task"])
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], wrap: Callable[[Exception], Exception]) -> None:
    """What the user can correct ends with 2 and one line, also when a Ray task raised it."""
    assert exit_code(_raises(wrap(BadInput("scenes", 0, "is not positive", "use 1 or more")))) == 2
    shown = capsys.readouterr()
    assert shown.err == "scenes=0 is not positive; use 1 or more.\n" and shown.out == ""


def test_a_failure_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Any other exception ends with 1 and the traceback on stderr."""
    assert exit_code(_raises(ZeroDivisionError("odd"))) == 1
    shown = capsys.readouterr()
    assert "Traceback" in shown.err and "ZeroDivisionError: odd" in shown.err and shown.out == ""


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130 and without a traceback."""
    assert exit_code(_raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option ends with 2 and one line."""
    with pytest.raises(SystemExit) as left:
        JobParser(prog="job.py").parse_args(["--colour", "red"])
    assert left.value.code == 2 and capsys.readouterr().err == "job.py: unrecognized arguments: --colour red\n"


@pytest.fixture
def usual_umask() -> Any:
    """Put the process's umask back after the test."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.ray
def test_a_connected_process_stays_connected(ray_cluster: Any, usual_umask: None, tmp_path: Path) -> None:
    """Inside a process that already uses Ray nothing is started, and new files become private."""
    import ray

    connect_ray()
    assert ray.get_runtime_context().gcs_address == ray_cluster.address_info["address"]
    (tmp_path / "secret").write_text("x")
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
