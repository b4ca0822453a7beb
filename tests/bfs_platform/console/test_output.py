"""What people and scripts see of a program, run as a process of its own: our lines, and nothing of libraries."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bfs_platform.console import log_file

CHATTER = ("python on stdout", "python on stderr", "descriptor 1", "descriptor 2", "FutureWarning: old", "child on stderr")
JOB = """
import logging, os, subprocess, sys, time, warnings
from bfs_model.errors import BadInput
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say
from bfs_platform.jobs import Failure, JobParser, run_job

def main():
    parser = JobParser(prog="job.py")
    parser.add_argument("--ends")
    options = parser.parse_args()
    if options.ends == "refused":
        raise BadInput("ends", options.ends, "is refused", "use another")
    print("python on stdout")
    print("python on stderr", file=sys.stderr)
    os.write(1, b"descriptor 1\\n")
    os.write(2, b"descriptor 2\\n")
    warnings.warn("old", FutureWarning)
    subprocess.run([sys.executable, "-c", "import sys; print('child on stderr', file=sys.stderr)"])
    say("a line for people")
    logging.getLogger("bfs_platform.anything").warning("a warning of ours")
    logging.getLogger("a_library").warning("a warning of others")
    with progress("work", 3, "things") as show:
        for done in range(1, 4):
            show(done, note="2 figures")
            time.sleep(float(os.environ.get("PAUSE", 0)))
    if options.ends == "fault":
        raise ZeroDivisionError("ours")
    if options.ends == "failure":
        raise Failure("the disk\\nis away")
    return "/data/manifest.json"

run_job(main)
"""


@pytest.fixture
def job(tmp_path: Path, bare_env: dict[str, str]):
    """Run the program with arguments: (exit code, lines on stdout, lines on stderr, text of the log)."""
    (tmp_path / "job.py").write_text(JOB)

    def run(*arguments: str, **variables: str) -> tuple[int, list[str], list[str], str]:
        env = {name: value for name, value in bare_env.items() if not name.startswith("BFS_")} | variables
        command = [sys.executable, "job.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
        logs = list((tmp_path / ".bfs" / "logs").glob("job-*.log"))
        assert len(logs) <= 1
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), "".join(log.read_text() for log in logs)

    return run


def test_every_line_is_ours(job) -> None:
    """Under a pipe: stdout holds the answer alone, stderr our lines and where the log is, the log all the rest."""
    code, out, err, log = job()
    assert code == 0 and out == ["/data/manifest.json"]
    assert err[:2] == ["a line for people", "a warning of ours"]
    assert re.fullmatch(r"work: 3/3 things in \d+ s, 2 figures", err[2])
    assert re.fullmatch(r"Log: \.bfs/logs/job-\d{8}T\d{6}Z-\d+\.log", err[3]) and len(err) == 4
    assert all(said in log for said in (*CHATTER, "a warning of others"))


def test_a_line_every_few_seconds(job) -> None:
    """Work of six seconds shows how far it is before it ends, with rate and time left; the log is named by then."""
    code, _, err, _ = job(PAUSE="2.2")
    assert code == 0 and len(err) == 5 and err[2].startswith("Log: ")
    assert re.fullmatch(r"work: 3/3 things, finishing, 5 s so far, 2 figures|work: [23]/3 things, 0\.\d+/s, \d s left, 2 figures", err[3])


def test_verbose_shows_everything(job, tmp_path: Path) -> None:
    """-v: what libraries print is on stderr too, and there is no log; stdout is still the answer alone."""
    code, out, err, log = job("-v")
    assert code == 0 and out == ["/data/manifest.json"] and log == ""
    assert all(any(said in line for line in err) for said in (*CHATTER, "a line for people", "a warning of others"))
    assert not (tmp_path / ".bfs").exists()


def test_a_refused_input_leaves_nothing(job, tmp_path: Path) -> None:
    """One line, no log, no folder."""
    assert job("--ends", "refused")[:3] == (2, [], ["ends=refused is refused; use another."])
    assert not (tmp_path / ".bfs").exists()


def test_a_failure_is_one_line(job) -> None:
    """What is not in our hands is said in one line."""
    code, out, err, _ = job("--ends", "failure")
    assert (code, out, err[-1]) == (1, [], "the disk is away") and not any("Traceback" in line for line in err)


def test_a_fault_names_the_log(job) -> None:
    """Its traceback is shown, stands in the log too, and the last line says where that is."""
    code, out, err, log = job("--ends", "fault")
    assert code == 1 and out == [] and "ZeroDivisionError: ours" in err
    assert re.fullmatch(r"What was printed before that is in \.bfs/logs/job-.*\.log", err[-1])
    assert "ZeroDivisionError: ours" in log and CHATTER[0] in log


def test_a_chosen_log_is_not_announced(job, tmp_path: Path) -> None:
    """BFS_LOG: several programs write into one file, whose place their caller knows."""
    for _ in range(2):
        code, _, err, _ = job(BFS_LOG="all.log")
        assert code == 0 and not any("all.log" in line for line in err)
    assert (tmp_path / "all.log").read_text().count(CHATTER[3]) == 2


def test_a_log_that_cannot_be_written(job, tmp_path: Path) -> None:
    """The work goes on; one line says why there is none."""
    (tmp_path / "file").write_text("")
    code, out, err, _ = job(BFS_HOME="file")
    assert code == 0 and out == ["/data/manifest.json"] and "No log can be written" in err[-1] and "--verbose" in err[-1]


def test_a_terminal_shows_a_bar(job, tmp_path: Path, bare_env: dict[str, str]) -> None:
    """On a terminal a bar is drawn over and over on one line, and one line stays at the end; lines are said above it."""
    ours, theirs = pty.openpty()
    env = bare_env | {"TERM": "xterm", "COLUMNS": "120", "PAUSE": "0.3"}
    with subprocess.Popen([sys.executable, "job.py"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        assert process.stdout is not None and process.stdout.read() == b"/data/manifest.json\n"
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0 and "━" in text and "1/3 things" in text and "a line for people" in text
    assert re.search(r"work: 3/3 things in \d+ s, 2 figures\r\n", text)
    assert not any(said in text for said in CHATTER)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody writes to it any more
        return b""


def test_logs_that_vanish_are_nobodys_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs that end at once remove the same old ones."""
    monkeypatch.setattr(log_file, "_KEPT", 1)
    (tmp_path / "gone.log").symlink_to(tmp_path / "nowhere")
    for age, name in enumerate(("new.log", "old.log")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    log_file._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["gone.log", "new.log"]
