"""Jobs and the service from a bare shell: a private cluster, and running clusters with and without a token."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn import write_rorem
from nodes import free_port
from shells import BIN, Head, bare_shell, ray_start

from bfs_model.integrity import verify

pytestmark = pytest.mark.ray

TOKEN = "0123456789abcdef0123456789abcdef"  # not a secret: of this test
SHORT = ["--set", "num_steps=2", "--set", "batch_size=4", "--set", "micro_batch_size=2", "--set", "sample_every_steps=0"]
# Runs a job and tells, in a file, which of our lines set a variable of Ray's after Ray was imported; Ray itself does.
WATCHED = """
import atexit, pathlib, runpy, sys
late = []

def audit(event, args):
    if event in ("os.putenv", "os.unsetenv") and args[0].startswith(b"RAY_") and "ray" in sys.modules:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_globals["__name__"] in ("os", "collections.abc", "_collections_abc"):
            frame = frame.f_back
        if frame.f_globals["__name__"].startswith("bfs_"):
            late.append(f"{frame.f_globals['__name__']} sets {args[0]}")

sys.addaudithook(audit)
atexit.register(lambda: pathlib.Path("late.txt").write_text(repr(late)))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module", params=[pytest.param("open", marks=pytest.mark.soak), "closed"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Head, Path]]:
    """`ray start --head` by a user who has no token, and by one who has; with that user's home."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "closed":
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(TOKEN)
    guard = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "bfs_serve.guard:middlewares"}
    scratch = Path(tempfile.mkdtemp(dir="/tmp"))
    with ray_start(home, scratch / "ray", **guard) as head:
        yield head, home
    shutil.rmtree(scratch, ignore_errors=True)


def _run(command: list[str], env: dict[str, str], cwd: Path, limit_s: float = 900) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=limit_s, check=False)


def _is_said_once(home: Path, text: str) -> bool:
    """Only an open cluster is spoken of, in one line."""
    return text.count("is open: whoever reaches it can run code there") == (1 if home.name.startswith("open") else 0)


def test_training_on_a_private_cluster(base: Path, datasets: dict[int, Path], repo_root: Path, tmp_path: Path) -> None:
    """Two workers; nothing is set after Ray was imported, nothing is written to the home directory, Ray leaves no directory behind."""
    home = tmp_path / "home"
    home.mkdir()
    scratch = Path(tempfile.mkdtemp(dir="/tmp"))  # short, for the names of sockets
    what = ["--recipe", "demo_stage1", "--base", str(base), "--dataset", str(datasets[1]), "--output", str(tmp_path / "out"), *SHORT]
    job = str(repo_root / "jobs" / "stage1.py")
    done = _run([sys.executable, "-c", WATCHED, job, *what], bare_shell(home, TMPDIR=str(scratch)), tmp_path)
    left = list(scratch.glob("bfs-*"))
    shutil.rmtree(scratch)
    assert done.returncode == 0, done.stderr[-3000:]
    verify(Path(done.stdout.splitlines()[-1]).parent, "model")
    assert (tmp_path / "late.txt").read_text() == "[]" and "is open" not in done.stderr
    assert not (home / ".ray").exists() and not left


def test_training_by_job_submission(
    cluster: tuple[Head, Path], base: Path, datasets: dict[int, Path], repo_root: Path, tmp_path: Path
) -> None:
    """`ray job submit --working-dir . -- python jobs/stage1.py …`, as documented."""
    head, home = cluster
    what = ["--recipe", "demo_stage1", "--base", str(base), "--dataset", str(datasets[1]), "--output", str(tmp_path / "out"), *SHORT]
    submit = ["ray", "job", "submit", "--address", head.dashboard, "--working-dir", ".", "--", "python", "jobs/stage1.py", *what]
    mode = {"RAY_AUTH_MODE": "token"} if home.name.startswith("closed") else {}
    done = _run([str(BIN / submit[0]), *submit[1:]], bare_shell(home, BFS_HOME=str(tmp_path), **mode), repo_root)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    verify(tmp_path / "out/model", "model")
    assert _is_said_once(home, done.stdout + done.stderr)


@pytest.mark.soak
def test_a_build_joins(cluster: tuple[Head, Path], base: Path, repo_root: Path, tmp_path: Path) -> None:
    """`RAY_ADDRESS=HOST:PORT python jobs/build_stage1.py …`: Ray Data on the running cluster."""
    head, home = cluster
    source = write_rorem(tmp_path / "source", 3, 128)
    command = [
        sys.executable,
        str(repo_root / "jobs/build_stage1.py"),
        "--recipe",
        "tabletop_data_stage1",
        "--source",
        "rorem",
        "--input",
        str(source),
    ]
    command += ["--output", str(tmp_path / "out"), "--set", "encode.enabled=false", "--set", "checks.duplicate_bits=null"]
    done = _run(command, bare_shell(home, RAY_ADDRESS=head.address), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    verify(tmp_path / "out", "dataset")
    assert _is_said_once(home, done.stderr)


@pytest.mark.soak
def test_the_service_joins_and_leaves(cluster: tuple[Head, Path], tmp_path: Path) -> None:
    """`python -m bfs_serve` on the running cluster becomes ready, and ends with 0 when it is told to."""
    head, home = cluster
    command = [
        sys.executable,
        "-m",
        "bfs_serve",
        "--engine",
        "bfs_serve.model.fake:FakeEngine",
        "--model",
        "fake",
        "--port",
        str(free_port()),
    ]
    env = bare_shell(home, RAY_ADDRESS=head.address)
    seen: list[str] = []
    with subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as service:
        assert service.stderr is not None
        for line in service.stderr:
            seen.append(line)
            if line.startswith("ready http"):
                service.send_signal(signal.SIGTERM)
    assert service.returncode == 0, seen
    assert any(line.startswith("ready http") for line in seen) and _is_said_once(home, "".join(seen))


WRONG = {"RAY_AUTH_TOKEN": "wrong"}
ABSENT = {"RAY_AUTH_TOKEN_PATH": "/no/such/token"}


@pytest.mark.parametrize(
    ("variables", "says"),
    [({}, "asks for a token and none was found"), (WRONG, "RAY_AUTH_TOKEN=<hidden> is not the token"), (ABSENT, "cannot be read")],
    ids=["none", "wrong", "no_file"],
)
@pytest.mark.parametrize("program", ["job", "bfs serve"])
@pytest.mark.parametrize("cluster", ["closed"], indirect=True)
def test_who_lacks_the_token_is_told(
    cluster: tuple[Head, Path], repo_root: Path, tmp_path: Path, program: str, variables: dict[str, str], says: str
) -> None:
    """Job and service end with 2 and one line that says where the token comes from."""
    head, _ = cluster
    jobs = {"job": [sys.executable, str(repo_root / "jobs/render_tabletop.py"), "--scenes", "1", "--output", str(tmp_path / "out")]}
    jobs["bfs serve"] = [
        str(BIN / "bfs"),
        "serve",
        "--engine",
        "bfs_serve.model.fake:FakeEngine",
        "--model",
        "fake",
        "--port",
        str(free_port()),
    ]
    done = _run(jobs[program], bare_shell(tmp_path, RAY_ADDRESS=head.address, **variables), tmp_path, 240)
    assert done.returncode == 2, done.stderr[-3000:]
    assert says in done.stderr and done.stderr.count("\n") == 1
