"""Builds in processes of their own, as a user starts them, for tests that kill them."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bfs_model import integrity

RECIPE = ("--recipe", "tabletop_pixels", "--set", "buckets=[[64,64]]", "--set", "records_per_shard=1", "--set", "max_reject_rate=0.5")


@dataclass
class Builder:
    """Starts `jobs/build_stage1.py` over one source; `env` says whether it joins a cluster or starts its own, `prefix` where it runs."""

    repo_root: Path
    source: Path
    output: Path
    env: dict[str, str]
    log: Path
    prefix: Sequence[str] = ()
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        """Begin, or go on with, the build."""
        job = [*self.prefix, sys.executable, str(self.repo_root / "jobs/build_stage1.py"), "--source", "rorem", "--input", str(self.source)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*job, "--output", str(self.output), *RECIPE], stdout=log, stderr=log, env=self.env, start_new_session=True
            )
        self.started.append(process)
        return process

    def finish(self) -> str:
        """Let it run to its end. Returns the content hash of what it committed, every file checked."""
        assert self.start().wait(900) == 0, self.said()
        return self.committed()

    def said(self) -> str:
        """The end of what the build wrote."""
        return self.log.read_text(encoding="utf-8")[-3000:]

    def committed(self) -> str:
        """The content hash of the set at the output. Raises `IntegrityError` unless it is whole."""
        return str(integrity.verify(self.output, "dataset")["content_hash"])

    def num_receipts(self) -> int:
        """Shards that are done and will not be made again."""
        return len(list((self.output.parent / f".{self.output.name}.building" / "receipts").glob("[0-9]*.json")))

    def wait_for(self, process: subprocess.Popen[bytes], num_receipts: int, limit_s: float = 600.0) -> None:
        """Wait until more than so many shards are done, or the process is gone."""
        deadline = time.monotonic() + limit_s
        while self.num_receipts() <= num_receipts and process.poll() is None:
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def clear(self) -> None:
        """End what is left of every process that this started, their clusters too."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def workers_of(pid: int) -> Iterator[psutil.Process]:
    """Ray's worker processes below `pid` that build at this moment."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("ray::Map"):  # not its agents: a node dies with them
                    yield process


def kill_workers(pid: int, draw: random.Random, patience_s: float = 10.0) -> int:
    """SIGKILL to one or two workers below `pid`, as soon as one works. Returns how many were there to be killed."""
    deadline = time.monotonic() + patience_s
    while not (found := list(workers_of(pid))) and time.monotonic() < deadline:
        time.sleep(0.005)
    chosen = draw.sample(found, min(len(found), draw.choice((1, 2))))
    for process in chosen:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(chosen)
