"""Runbooks beside what they are for: the part is really dead, the diagnosis shows it, others feel what the page says, the mend mends."""

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from run_documents import environment_of_the_documents
from runbooks import commands
from stack_shell import FIELDS, PATIENCE_S, Shell, picture

from bfs_platform.stack.marked import marked
from bfs_platform.stack.state import Stack

pytestmark = pytest.mark.soak

_DAY_S = 86_400
_STEPS = "200"  # a drawing that outlasts the death of the head


def test_runbooks_beside_what_is_lost(shell: Shell) -> None:
    """The registry, then the head with everything on it; and on a disk that is to be cleared, what is left behind is found."""
    assert environment_of_the_documents(shell.root), "the runbooks name .venv, and the tests run in another environment"
    shell.up()
    told = shell.told()
    shell.run("bfs", "status", **told)
    _the_registry_is_lost(shell, told)
    _the_head_is_lost(shell, told)
    _leftovers_are_found(shell, told)


def _the_registry_is_lost(shell: Shell, told: dict[str, str]) -> None:
    """None for those who draw; nobody can promote."""
    before = _kill(shell, "mlflow")
    found = _diagnosed(shell, "lost-registry", told)
    assert found['curl -f "$MLFLOW_TRACKING_URI/health"'][0] == 7, "curl: failed to connect"
    code, said = found[".venv/bin/bfs status"]
    assert code == 1 and _line(said, "mlflow").count("died; see ") == 1 and " up " in _line(said, "service")
    shell.ask()
    refused = shell.paste(".venv/bin/bfs rollback", shell.env | told | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    assert refused.returncode == 2 and "cannot be reached" in refused.stderr
    after = _mended(shell, "lost-registry", told)
    assert after["mlflow"]["pid"] != before["mlflow"]["pid"] and after["ray"]["pid"] == before["ray"]["pid"]


def _the_head_is_lost(shell: Shell, told: dict[str, str]) -> None:
    """The service is away; what it had accepted is drawn afterwards."""
    with shell.client() as client:
        accepted = client.post("/v1/layers", files={"background": picture()}, data=FIELDS | {"steps": _STEPS})
        assert accepted.status_code == 202, accepted.text
    before = _kill(shell, "ray")
    code, said = _diagnosed(shell, "lost-head", told)[".venv/bin/bfs status"]
    assert code == 1 and "died; see " in _line(said, "ray") and " up " not in _line(said, "service") and " up " in _line(said, "mlflow")
    after = _mended(shell, "lost-head", told)
    assert after["ray"]["pid"] != before["ray"]["pid"] and after["mlflow"]["pid"] == before["mlflow"]["pid"]
    deadline = time.monotonic() + PATIENCE_S
    with shell.client() as client:
        while (job := client.get(accepted.headers["Location"]).json())["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, job
            time.sleep(1)
    assert job["status"] == "succeeded", job


def _leftovers_are_found(shell: Shell, told: dict[str, str]) -> None:
    """What an interrupted write left behind days ago, and nothing that is being written now."""
    old, young = (Path(told["BFS_HOME"], f".{name}.partial") for name in ("old", "young"))
    for path in (old, young):
        path.mkdir()
    os.utime(old, (time.time() - 3 * _DAY_S,) * 2)
    mend = [block for block in commands(shell.root / "infra/runbooks/full-disk.md") if block.part == "Mend" and not block.cluster]
    done = [shell.paste(block.text, shell.env | told) for block in mend]
    assert [one.returncode for one in done] == [0] and done[0].stdout.split() == [str(old)]


def _kill(shell: Shell, name: str) -> dict[str, Any]:
    """A part, with everything that it started, as when its machine loses power. Returns what ran before."""
    before, stack = shell.status(0), Stack.load(shell.folder)
    assert stack is not None
    killed = marked(f"{stack.mark}:{name}.")
    assert before[name]["pid"] in {process.pid for process in killed}
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=60)
    return before


def _diagnosed(shell: Shell, page: str, told: dict[str, str]) -> dict[str, tuple[int, str]]:
    """The exit code and the words of each command of its diagnosis, whatever the others say."""
    blocks = [block for block in commands(shell.root / f"infra/runbooks/{page}.md") if block.part == "Diagnosis" and not block.cluster]
    lines = [line for block in blocks for line in block.text.splitlines()]
    done = {line: shell.paste(line, shell.env | told) for line in lines}
    return {line: (one.returncode, one.stdout) for line, one in done.items()}


def _mended(shell: Shell, page: str, told: dict[str, str]) -> dict[str, Any]:
    """What runs after its mend: everything."""
    for block in commands(shell.root / f"infra/runbooks/{page}.md"):
        if block.part == "Mend" and not block.cluster:
            done = shell.paste(block.text, shell.env | told)
            assert done.returncode == 0, f"{block.place}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return shell.status(0)


def _line(text: str, name: str) -> str:
    """What a table says of a part."""
    (line,) = [f"{line} " for line in text.splitlines() if line.split()[:1] == [name]]
    return line
