"""Several ranks on this machine without Ray: forked from one warm process, joined by gloo, and killed wherever a test likes."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_ZYGOTE = Path(__file__).with_name("zygote.py")

# A worker dies in its step {step}, after the backward pass of its first micro-batch has begun to fill gradients. It waits until
# the checkpoint before is on disk: how far back a death throws a run is not what these tests ask.
DIE_IN_STEP = """
import os, signal, time
from pathlib import Path
from bfs_platform.train import loop
from bfs_platform.train.state import checkpoints
original = loop.stop_unless_finite
every = order["config"]["spec"]["checkpoint"]["every_steps"]
before = checkpoints.path_of(Path(order["config"]["output"]), {step} // every * every)
def dying(loss, ids, step):
    original(loss, ids, step)
    if step == {step} and order["rank"] == order["world_size"] - 1:
        while not (before / "manifest.json").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
loop.stop_unless_finite = dying
"""


class WorkerFailed(RuntimeError):
    """A rank raised. The message is what it raised; the log is that of the rank."""


@dataclass
class Group:
    """The ranks of one attempt: their process ids, where each tells its result, and how each ended."""

    pids: list[int]
    results: list[Path]
    statuses: dict[int, int] = field(default_factory=dict)

    def log(self) -> str:
        """What the ranks wrote to standard output and error."""
        paths = [Path(f"{result}.log") for result in self.results]
        return "".join(f"--- rank {i}\n{path.read_text()}" for i, path in enumerate(paths) if path.exists())


class Ranks:
    """Starts groups of training workers. One warm process serves all tests of a session."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONWARNINGS": "ignore", "GLOO_SOCKET_IFNAME": "lo"}
        self._zygote = subprocess.Popen(
            [sys.executable, str(_ZYGOTE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        self._ended: dict[int, int] = {}
        self._expect("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._zygote.pid, signal.SIGKILL)  # its workers too
        self._zygote.communicate()

    def start(self, config: dict[str, Any], world_size: int = 1, prepare: str = "") -> Group:
        """Start the ranks of one attempt at a run; `prepare` is Python that each runs first."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        results = [folder / f"rank{rank}.json" for rank in range(world_size)]
        pids = []
        for rank, result in enumerate(results):
            order = {"config": config, "rank": rank, "world_size": world_size, "rendezvous": str(folder / "store")}
            self._send(order | {"result": str(result), "prepare": prepare})
            pids.append(int(self._expect("started")))
        return Group(pids, results)

    def wait(self, group: Group, limit_s: float = 600.0) -> Path:
        """Wait until all ranks have ended and return the manifest of rank 0. Raises `WorkerFailed` with what a rank raised."""
        deadline = time.monotonic() + limit_s
        while len(group.statuses) < len(group.pids):
            self._collect(group)
            if any(group.statuses.values()) or time.monotonic() > deadline:  # the others would wait for a dead one
                time.sleep(0.3)
                self._collect(group)
                self.kill(group)
        told = [json.loads(path.read_text()) for path in group.results if path.exists()]
        raised = [answer["raised"] for answer in told if "raised" in answer]
        if raised or any(group.statuses.values()):
            raise WorkerFailed("; ".join(raised) or f"ended with {group.statuses}\n{group.log()[-3000:]}")
        return Path(told[0]["returned"])

    def run(self, config: dict[str, Any], world_size: int = 1, prepare: str = "") -> Path:
        """`start` and `wait`."""
        return self.wait(self.start(config, world_size, prepare))

    def kill(self, group: Group) -> None:
        """SIGKILL to every rank that still runs, and wait until they are gone."""
        for pid in group.pids:
            if pid not in group.statuses:
                os.kill(pid, signal.SIGKILL)
        while len(group.statuses) < len(group.pids):
            self._collect(group)

    def alive(self, group: Group) -> bool:
        """Whether any rank still runs."""
        self._collect(group)
        return len(group.statuses) < len(group.pids)

    def _collect(self, group: Group) -> None:
        self._read_ends()
        group.statuses |= {pid: self._ended[pid] for pid in group.pids if pid in self._ended}

    def _send(self, order: dict[str, Any]) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps(order).encode() + b"\n")
        self._zygote.stdin.flush()

    def _read_ends(self) -> None:
        """Read the ends that were reported since."""
        assert self._zygote.stdout is not None
        while select.select([self._zygote.stdout], [], [], 0.01)[0]:
            self._note(self._read())

    def _expect(self, key: str) -> int:
        while True:
            answer = self._read()
            if key in answer:
                return int(answer[key])
            self._note(answer)

    def _note(self, answer: dict[str, int]) -> None:
        self._ended[answer["pid"]] = answer["status"]

    def _read(self) -> dict[str, int]:
        assert self._zygote.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._zygote.stdout.fileno(), 1)
            assert byte, "the process that starts workers has ended"
            line += byte
        return dict(json.loads(line))
