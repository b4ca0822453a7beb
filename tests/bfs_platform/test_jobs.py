"""Exit codes of jobs, and how they reach Ray."""

import ast
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from bfs_model.errors import BadInput
from bfs_platform.cluster import connection
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
def test_a_private_cluster_stays_on_this_machine(tmp_path: Path) -> None:
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
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "127.0.0.1\n"


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_busy_machine_gets_two_tries(failures: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that did not start in time is started once more; then it is given up with advice."""
    import ray

    tries: list[int] = []

    def start(*_: object, **__: object) -> Any:
        tries.append(1)
        if len(tries) <= failures:
            raise Exception("The current node timed out during startup. This could happen because …")
        return SimpleNamespace(address_info={"address": "127.0.0.1:6379"})

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # this process may hold the cluster of other tests
    if failures == 2:
        with pytest.raises(RuntimeError, match="less busy"):
            connection.start_private(4)
    else:
        connection.start_private(4)
    connection.leave()
    assert len(tries) == min(failures + 1, 2) and capsys.readouterr().err.count("trying once more") == min(failures, 1)


def test_other_failures_of_a_start_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not become emptier."""
    import ray

    tries: list[int] = []

    def start(*_: object, **__: object) -> None:
        tries.append(1)
        raise OSError("no space")

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(OSError, match="no space"):
        connection.start_private(4)
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
def test_a_private_cluster_leaves_the_usual_ports_to_others(bare_env: dict[str, str], tmp_path: Path) -> None:
    """A cluster that a person starts beside it gets 52365, without which its agent takes no job."""
    code = """
import os, psutil
from bfs_platform.jobs import connect_ray, run_job
def ports():
    connect_ray()
    commands = [" ".join(p.cmdline()) for p in psutil.Process(os.getpid()).children(recursive=True)]
    return [c.split("listen-port=")[1].split()[0] for c in commands if "listen-port=" in c]
run_job(lambda: str(ports()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=bare_env, cwd=tmp_path, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    ports = ast.literal_eval(done.stdout.strip())
    assert ports and set(ports) == {"0"}


@pytest.mark.ray
def test_sigterm_ends_a_job_as_ctrl_c_does(bare_env: dict[str, str], tmp_path: Path) -> None:
    """Ray would abort it, and leave the directory of its cluster behind; a handler that was there before stays."""
    code = """
import time
from bfs_platform.console.screen import say
from bfs_platform.jobs import connect_ray, run_job
def main():
    connect_ray()
    say("ready")
    time.sleep(600)
run_job(main)
"""
    # A name that leaves room for Ray's sockets.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        env = bare_env | {"TMPDIR": place}
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as job:
            assert job.stderr is not None
            said = ""
            while "ready" not in said:
                line = job.stderr.readline()
                assert line, said
                said += line
            assert [found.name.startswith("bfs-") for found in Path(place).iterdir()].count(True) == 1
            job.terminate()
            assert job.wait(60) == 143
            assert job.stderr.read().splitlines()[0] == "Interrupted."
        assert list(Path(place).glob("bfs-*")) == []


@pytest.mark.ray
def test_nothing_that_workers_say_follows_the_manifest(ray_cluster: Any, bare_env: dict[str, str], tmp_path: Path) -> None:
    """An actor that prints on and on, and a process that takes its time to end: stdout is still the manifest alone."""
    code = """
import atexit, time
from bfs_platform.console import log_file
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
    deadline = time.monotonic() + 60
    while b"still here" not in log_file._log.content() and time.monotonic() < deadline:
        time.sleep(0.1)
    return "/data/manifest.json"

run_job(main)
"""
    env = bare_env | {"RAY_ADDRESS": ray_cluster.address_info["address"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout == "/data/manifest.json\n", done.stderr[-2000:]
    assert "still here" not in done.stderr
    (log,) = (tmp_path / ".bfs" / "logs").glob("*.log")
    assert "still here" in log.read_text()


def test_a_temporary_directory_that_is_none_is_named(tmp_path: Path) -> None:
    """Before Ray is started, in one line."""
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "none")}
    code = "from bfs_platform.jobs import connect_ray, run_job; run_job(lambda: connect_ray() or '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 2 and done.stderr.startswith("TMPDIR=") and done.stderr.count("\n") == 1


def test_ray_sessions_have_room_for_their_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user keeps temporary files, to the last byte that a socket's name leaves; deeper, in /tmp, and spilled objects there."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    socket_name = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.12345"
    for length, spilled in ((connection._LONGEST_ROOT, False), (connection._LONGEST_ROOT + 1, True)):
        wanted = Path(tempfile.mkdtemp(dir="/tmp")) / ("d" * length)
        wanted = Path(str(wanted)[:length])
        wanted.mkdir(parents=True)
        monkeypatch.setenv("TMPDIR", str(wanted))
        places = connection._places()
        connection.keep_logs()  # forget the directory: another test may be connected
        shutil.rmtree(Path(places["_temp_dir"]).parent)
        shutil.rmtree(wanted.parent, ignore_errors=True)
        assert len(f"{places['_temp_dir']}/{socket_name}") <= 107
        assert (places.get("object_spilling_directory") == str(wanted)) is spilled
        assert places["_temp_dir"].startswith("/tmp/bfs-" if spilled else str(wanted))


def test_an_acknowledged_licence_counts_for_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who started the job has read it; workers on other machines have the environment of their cluster. A submitted job has its own."""
    monkeypatch.setenv("BFS_ACCEPT_FLUX_LICENCE", "1")
    told = connection._own_environment()
    assert told is not None and told["env_vars"]["BFS_ACCEPT_FLUX_LICENCE"] == "1"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert connection._own_environment() is None
