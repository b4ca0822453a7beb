"""Exit codes of jobs, and how they reach Ray."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bfs_model.errors import BadInput
from bfs_platform.jobs import JobParser, _start_cluster, connect_ray, exit_code, run_job


class _Wrapped(Exception):
    """As Ray raises it: the exception of the task is its `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("task failed\nwith a long traceback")
        self.cause = cause


def _raises(error: BaseException) -> Callable[[], NoReturn]:
    def main() -> NoReturn:
        raise error

    return main


def test_the_manifest_is_the_last_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After success the path stands alone on the last line of stdout, whatever was printed before."""
    monkeypatch.setattr("bfs_platform.jobs.leave_ray", lambda: None)  # this process may hold the cluster of other tests

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


@pytest.mark.ray
@pytest.mark.parametrize("before", ["pass", "import ray"], ids=["fresh", "imported_before"])
def test_a_private_cluster_stays_on_this_machine(bare_env: dict[str, str], tmp_path: Path, before: str) -> None:
    """A job that starts its own cluster listens on 127.0.0.1 alone, on every port of every process."""
    code = """
import psutil
from bfs_platform.jobs import connect_ray
connect_ray(num_cpus=4)
import ray
assert ray.get(ray.remote(lambda: 41).remote()) == 41
me = psutil.Process()
ports = [c.laddr for p in (me, *me.children(recursive=True)) for c in p.net_connections("tcp") if c.status == "LISTEN"]
assert len(ports) > 3, ports
print(*sorted({port.ip.removeprefix("::ffff:") for port in ports}))
"""
    env = {key: value for key, value in bare_env.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", before + code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "127.0.0.1\n"


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_busy_machine_gets_two_tries(failures: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that did not start in time is started once more; then it is given up with advice."""
    import ray

    tries: list[int] = []

    def start(**_: object) -> None:
        tries.append(1)
        if len(tries) <= failures:
            raise Exception("The current node timed out during startup. This could happen because …")

    monkeypatch.setattr(ray, "init", start)
    if failures == 2:
        with pytest.raises(RuntimeError, match="less busy"):
            _start_cluster(4)
    else:
        _start_cluster(4)
    assert len(tries) == min(failures + 1, 2) and capsys.readouterr().err.count("trying once more") == min(failures, 1)


def test_other_failures_of_a_start_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not become emptier."""
    import ray

    tries: list[int] = []

    def start(**_: object) -> None:
        tries.append(1)
        raise OSError("no space")

    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(OSError, match="no space"):
        _start_cluster(4)
    assert len(tries) == 1


def test_an_unreachable_cluster_is_the_users_to_correct(bare_env: dict[str, str], tmp_path: Path) -> None:
    """A RAY_ADDRESS behind which nobody listens is named at once, instead of after minutes of retries."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        env = bare_env | {"RAY_ADDRESS": f"127.0.0.1:{taken.getsockname()[1]}"}
        code = "from bfs_platform.jobs import connect_ray, run_job; run_job(lambda: connect_ray() or '')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("RAY_ADDRESS=127.0.0.1:") and "cannot be reached" in done.stderr


@pytest.mark.ray
def test_nothing_that_workers_say_follows_the_manifest(ray_cluster: Any, bare_env: dict[str, str], tmp_path: Path) -> None:
    """An actor that prints on and on, and a process that takes its time to end: the last line is still the manifest."""
    code = """
import atexit, time
from bfs_platform.jobs import connect_ray, run_job
connect_ray()
import ray
atexit.register(time.sleep, 2)

@ray.remote(num_cpus=0)
class Talker:
    def talk(self):
        while True:
            print("still here", time.time())
            time.sleep(0.05)

def main():
    main.talker = Talker.remote()
    main.talker.talk.remote()
    time.sleep(3)
    return "/data/manifest.json"

run_job(main)
"""
    env = bare_env | {"RAY_ADDRESS": ray_cluster.address_info["address"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1] == "/data/manifest.json", done.stderr[-2000:]
    assert any("still here" in line for line in lines)
