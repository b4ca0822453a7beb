"""Which samples a step sees: a pure function of (seed, data set, position). Resume neither repeats nor skips one."""

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


def permutation(seed: int, data: str, epoch: int, size: int) -> np.ndarray:
    """The order of one epoch."""
    key = [seed & 0xFFFFFFFF, epoch, *data.encode()]
    return np.random.default_rng(key).permutation(size)


def share(batch: np.ndarray, rank: int, world_size: int, micro_batch_size: int) -> list[np.ndarray]:
    """This rank's micro-batches of a global batch, in order."""
    mine = np.split(batch, world_size)[rank]
    return np.split(mine, len(mine) // micro_batch_size)
