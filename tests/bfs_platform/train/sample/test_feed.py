"""Batches are ready before they are asked for, and are the same ones whether or not."""

import threading
from itertools import islice
from typing import Any

import numpy as np
import pytest

from bfs_platform.config import resolve
from bfs_platform.train.sample.feed import Feed, schedule
from bfs_platform.train.spec import TrainSpec

SPEC = resolve("tabletop_stage2", ["num_steps=12", "batch_size=4", "micro_batch_size=2", "num_workers=1"], TrainSpec)


class Squares:
    """A task of two data sets in turn, whose batches are their own names."""

    groups = {"synthetic": [np.arange(7)], "natural": [np.arange(5)]}

    def __init__(self) -> None:
        self.prepared: list[tuple[str, list[int], int]] = []
        self.threads: set[str] = set()

    def data(self, step: int) -> str:
        """The second set in every third step."""
        return "synthetic" if step % 3 == 2 else "natural"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[list[str], tuple[Any, ...]]:
        """Notes what was asked for."""
        self.threads.add(threading.current_thread().name)
        self.prepared.append((data, rows.tolist(), step))
        return [f"{data}-{row}" for row in rows], (step,)


def _ids(start: int) -> list[list[str]]:
    task: Any = Squares()
    with Feed(task, schedule(task, SPEC, start, 0, 1)) as feed:
        return [list(feed.next()[0]) for work in schedule(task, SPEC, start, 0, 1) for _ in work.micros]


def test_a_run_that_continues_sees_the_samples_that_were_left() -> None:
    """From any step on, batches of both data sets are those of a run from the beginning."""
    whole = _ids(0)
    assert len(whole) == 2 * SPEC.num_steps and len({i for ids in whole for i in ids}) == 12
    for start in (1, 5, 11):
        assert _ids(start) == whole[2 * start :]


def test_the_next_batch_is_prepared_while_this_one_is_computed() -> None:
    """Without being asked, a thread prepares the next batch, and no more; also when it comes from the other data set."""
    task: Any = Squares()
    works = list(islice(schedule(task, SPEC, 0, 0, 1), 3))
    with Feed(task, iter(works)) as feed:
        for taken in range(1, 7):
            feed.next()
            feed.wait()
            assert len(task.prepared) == min(taken + 1, 6)
    assert [step for *_, step in task.prepared] == [0, 0, 1, 1, 2, 2] and task.prepared[-1][0] == "synthetic"
    assert threading.current_thread().name not in task.threads


def test_what_goes_wrong_with_a_batch_is_raised_where_it_is_used() -> None:
    """A damaged shard stops the step that needs it, not the one before."""
    task: Any = Squares()
    good = task.batch
    task.batch = lambda data, rows, step: good(data, rows, step) if step < 1 else {}["damaged"]
    with Feed(task, schedule(task, SPEC, 0, 0, 1)) as feed:
        feed.next()
        feed.next()
        with pytest.raises(KeyError, match="damaged"):
            feed.next()
