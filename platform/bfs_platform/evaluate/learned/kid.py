"""KID (Bińkowski et al. 2018): the unbiased squared maximum mean discrepancy of two sets of features, polynomial kernel."""

from dataclasses import dataclass

import numpy as np

from bfs_platform.data.record import seed_of

_LEAST = 4  # records: fewer leave no two different subsets of at least two


@dataclass(frozen=True, slots=True)
class Kid:
    """Mean and sample deviation over `subsets` subsets of `subset_size` features of each set; not multiplied by 1000."""

    mean: float
    std: float | None
    subsets: int
    subset_size: int


def kid(found: np.ndarray, wanted: np.ndarray, subsets: int, subset_size: int, seed: int) -> Kid | None:
    """KID between features `found` and `wanted`, both [N, D] of the same records; None with fewer than four.

    Subsets are drawn without replacement, from each set by itself, as torchmetrics does. With N ≤ `subset_size` each holds one
    half of the records, and no record is in both: a picture is never compared with its own truth, which on few records would
    pull the distance far below zero. The spread still says something. What is drawn depends on `seed` alone.
    """
    total = len(found)
    if total < _LEAST:
        return None
    apart = total <= subset_size
    size = total // 2 if apart else subset_size
    values = []
    for index in range(subsets):
        generator = np.random.default_rng(seed_of(seed, "kid", index))
        if apart:
            order = generator.permutation(total)
            first, second = order[:size], order[size : 2 * size]
        else:
            first, second = (generator.choice(total, size, replace=False) for _ in range(2))
        values.append(squared_mmd(found[first], wanted[second]))
    spread = float(np.std(values, ddof=1)) if subsets > 1 else None
    return Kid(float(np.mean(values)), spread, subsets, size)


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD² of features [N, D] under the kernel (x·y / D + 1)³. May be negative.

    E[k(x, x')] + E[k(y, y')] − 2 E[k(x, y)], the first two over pairs of different members.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    return _mean_of_pairs(_kernel(x, x)) + _mean_of_pairs(_kernel(y, y)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


def _mean_of_pairs(kernel: np.ndarray) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
