"""Checkpoints that are written while training goes on: a step waits for a copy of the state in memory, not for the disk."""

import errno
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import checkpoints, engine, state

log = logging.getLogger(__name__)

_POLL_S = 0.02
_SEEN_S = 120.0  # how long a share that another node has written may take to be seen on shared storage


@dataclass(frozen=True)
class _Pending:
    """A checkpoint that is being written. Both futures hold what went wrong with the disk, or an empty string."""

    done: int
    shares: list[Path]
    written: Future[str]
    committed: Future[str] | None
    given_up: threading.Event


class Saver:
    """Writes one checkpoint at a time, in one thread per rank.

    Each thread writes the share of its rank. That of rank 0 then waits until all shares are there, hashes them and commits:
    until its rename there is no checkpoint, so a death at any moment leaves the one before. Threads never talk to other ranks;
    how it went is agreed upon between two steps, in `settle`.
    """

    def __init__(self, wrapped: Any, spec: TrainSpec, output: Path, facts: dict[str, Any], rank: int, world_size: int) -> None:
        self._wrapped, self._spec, self._output, self._facts = wrapped, spec, output, facts
        self._rank, self._world_size = rank, world_size
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: _Pending | None = None

    def start(self, done: int) -> int:
        """Begin the checkpoint after `done` steps, on all ranks together; returns how many were missed since the last call.

        A full disk in mid-run is said and survived: the checkpoint before stays, and the next one is tried again.
        """
        missed = self.wait()
        staging = checkpoints.staging_of(self._output, done)
        problem = _attempt(lambda: checkpoints.clear(staging)) if self._rank == 0 else ""
        if not engine.all_true(not problem):
            return missed + self._miss(done, problem)
        tensors = state.snapshot(self._wrapped, done)
        shares = [state.share(staging, rank, self._world_size) for rank in range(self._world_size)]
        given_up = threading.Event()
        written = self._thread.submit(_attempt, lambda: state.write(tensors, shares[self._rank]))
        committed = self._thread.submit(self._commit, done, shares, given_up) if self._rank == 0 else None
        self._pending = _Pending(done, shares, written, committed, given_up)
        return missed

    def wait(self) -> int:
        """Wait until the checkpoint that is being written is whole, on all ranks together; returns 1 if it could not be written.

        Raises: `BadInput` when that was the last one of the run.
        """
        if (pending := self._pending) is None:
            return 0
        problem = pending.written.result()
        if whole := engine.all_true(not problem):
            problem = "" if pending.committed is None else self._committed(pending, pending.committed)
            whole = engine.all_true(not problem)
        _give_up(pending)
        self._pending = None
        if whole:
            return 0
        if self._rank == 0:
            checkpoints.discard(checkpoints.staging_of(self._output, pending.done))
        return self._miss(pending.done, problem)

    def close(self, patience_s: float = 10.0) -> None:
        """Leave nothing running, whatever has become of the other ranks; what is whole within `patience_s` counts."""
        if self._pending is not None:
            wait([f for f in (self._pending.written, self._pending.committed) if f is not None], patience_s)
            _give_up(self._pending)
        self._thread.shutdown()

    def _commit(self, done: int, shares: list[Path], given_up: threading.Event) -> str:
        """In the thread of rank 0, after its own share."""
        while not all(share.exists() for share in shares):
            if given_up.wait(_POLL_S):
                return "it was given up"
        return _attempt(lambda: checkpoints.commit(self._output, done, self._facts, self._spec.checkpoint.keep))

    def _committed(self, pending: _Pending, committed: "Future[str]") -> str:
        """What went wrong with a commit whose shares are all written."""
        limit = time.monotonic() + _SEEN_S
        while not committed.done() and not all(share.exists() for share in pending.shares):
            if time.monotonic() > limit:
                return "the share of another rank is not to be seen: is the output on storage that all nodes share?"
            time.sleep(_POLL_S)
        return committed.result()

    def _miss(self, done: int, problem: str) -> int:
        problem = problem or "another rank could not write its share"
        if done == self._spec.num_steps:
            rule = f"cannot hold the last checkpoint ({problem})"
            raise BadInput("output", self._output, rule, "free some space and repeat the command")
        log.warning("No checkpoint after step %d: %s. Training goes on; the one before it is still good.", done, problem)
        return 1


def _give_up(pending: _Pending) -> None:
    """Let no commit begin any more, and wait for the one that has begun."""
    pending.given_up.set()
    wait([f for f in (pending.written, pending.committed) if f is not None])


def _attempt(write: Callable[[], object]) -> str:
    """Run `write`; what went wrong with the disk, or an empty string."""
    try:
        write()
    except OSError as error:
        return "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror or error}"
    except Exception as error:  # safetensors wraps the errors of the operating system in its own
        if type(error).__name__ != "SafetensorError":
            raise
        return str(error)
    return ""
