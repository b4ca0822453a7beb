"""The batches of a run: which samples each step sees, and a thread that has the next ones ready."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from bfs_platform.train.sample import order
from bfs_platform.train.sample.transfer import Transfer
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.task import Task

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Work:
    """One step of one rank: its number, the data set that it draws from, and the micro-batches with their shares of the batch."""

    step: int
    data: str
    micros: list[tuple[np.ndarray, float]]


def schedule(task: Task, spec: TrainSpec, start: int, rank: int, world_size: int) -> Iterator[Work]:
    """Steps `start` … `spec.num_steps` of a rank: the same ones whenever they are asked for, whatever ran before."""
    positions: dict[str, int] = {}
    for step in range(spec.num_steps):
        data = task.data(step)
        position = positions.get(data, 0)
        positions[data] = position + 1
        if step >= start:
            batch = order.indices(spec.seed, data, position, spec.batch_size, task.groups[data])
            yield Work(step, data, order.share(batch, rank, world_size, spec.micro_batch_size))


class Feed:
    """Micro-batches of a schedule in order, on the device, each prepared in a thread while the one before it is computed.

    One is ahead, never more: whichever data set it comes from, since the schedule says so in advance.
    """

    def __init__(self, task: Task, steps: Iterator[Work], device: torch.device = _CPU) -> None:
        self._task, self._transfer = task, Transfer(device)
        self._todo = ((work, rows) for work in steps for rows, _ in work.micros)
        self._thread = ThreadPoolExecutor(1, "feed")
        self._ahead = self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def next(self) -> tuple[Sequence[str], tuple[Any, ...]]:
        """Sample ids and arguments of the next micro-batch. Raises what preparing it raised."""
        assert self._ahead is not None, "the schedule is at its end"
        ids, begun = self._ahead.result()
        self._ahead = self._prepare()
        return ids, self._transfer.end(begun)

    def wait(self) -> None:
        """Wait until nothing is being prepared, so that the caller can use data sets and networks of the task alone."""
        wait([self._ahead] if self._ahead else [])

    def _prepare(self) -> Future[tuple[Sequence[str], tuple[Any, Any]]] | None:
        for work, rows in self._todo:
            return self._thread.submit(self._sent, work, rows)
        return None

    def _sent(self, work: Work, rows: np.ndarray) -> tuple[Sequence[str], tuple[Any, Any]]:
        ids, arguments = self._task.batch(work.data, rows, work.step)
        return ids, self._transfer.begin(arguments)
