"""Which samples a step sees: a pure function of (seed, data set, position). Resume neither repeats nor skips one."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np


def indices(seed: int, data: str, position: int, batch_size: int, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of the batch at `position` (batches drawn from this data set before it): int64 [batch_size].

    `groups`: the rows of the data set by the size of their pictures. With one, each epoch is a permutation drawn from
    (seed, data, epoch), and batches run on over the border of epochs. With several, a batch is of one group, as its pictures are
    stacked; an epoch shows every row, and the last batch of a group begins it anew.
    """
    if len(groups) == 1:
        return groups[0][_running(seed, data, position * batch_size, batch_size, len(groups[0]))]
    ends = list(accumulate(math.ceil(len(rows) / batch_size) for rows in groups))
    epoch, place = divmod(position, ends[-1])
    number = int(permutation(seed, f"{data} batches", epoch, ends[-1])[place])
    group = bisect_right(ends, number)
    first = (number - (ends[group - 1] if group else 0)) * batch_size
    rows = groups[group]
    return rows[permutation(seed, f"{data} {group}", epoch, len(rows))[np.arange(first, first + batch_size) % len(rows)]]


def _running(seed: int, data: str, first: int, count: int, size: int) -> np.ndarray:
    """Places `first` … of one permutation after the other."""
    places = np.arange(first, first + count)
    out = np.empty(count, np.int64)
    for epoch in np.unique(places // size):
        here = places // size == epoch
        out[here] = permutation(seed, data, int(epoch), size)[places[here] % size]
    return out


@lru_cache(maxsize=32)  # drawn once an epoch: every step asks for it
def permutation(seed: int, data: str, epoch: int, size: int) -> np.ndarray:
    """The order of one epoch. Read only."""
    key = [seed & 0xFFFFFFFF, epoch, *data.encode()]
    order = np.random.default_rng(key).permutation(size)
    order.flags.writeable = False
    return order


def accumulation(batch_size: int, world_size: int, micro_batch_size: int) -> int:
    """Micro-batches per rank and step: the same number on every rank, for the largest share."""
    largest_share = math.ceil(batch_size / world_size)
    return math.ceil(largest_share / micro_batch_size)


def share(batch: np.ndarray, rank: int, world_size: int, micro_batch_size: int) -> list[tuple[np.ndarray, float]]:
    """This rank's micro-batches of a global batch, in order, each with its share of the batch (they sum to 1 over all ranks).

    A batch that does not divide evenly is split as evenly as it can be. Ranks work in step, so one that has no sample left
    repeats one, with a share of 0.
    """
    mine = np.array_split(batch, world_size)[rank]
    parts = np.array_split(mine, accumulation(len(batch), world_size, micro_batch_size))
    return [(part, len(part) / len(batch)) if len(part) else (batch[:1], 0.0) for part in parts]
