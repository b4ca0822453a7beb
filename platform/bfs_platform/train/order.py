"""Which samples a step sees: a pure function of (seed, data set, position). Resume neither repeats nor skips one."""

import math
from functools import lru_cache

import numpy as np


def indices(seed: int, data: str, position: int, batch_size: int, size: int) -> np.ndarray:
    """Sample indices of the batch at `position` (batches drawn from this data set before it): int64 [batch_size].

    Each epoch is one permutation drawn from (seed, data, epoch); batches run on over the border of epochs.
    """
    first = position * batch_size
    places = np.arange(first, first + batch_size)
    out = np.empty(batch_size, np.int64)
    for epoch in np.unique(places // size):
        here = places // size == epoch
        out[here] = permutation(seed, data, int(epoch), size)[places[here] % size]
    return out


@lru_cache(maxsize=4)  # drawn once an epoch: every step asks for it
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
