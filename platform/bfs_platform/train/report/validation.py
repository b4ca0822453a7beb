"""Losses on records that are not trained on: at fixed noise, by bands of its level, so that every measurement is of the same thing.

The training loss of flow matching says little: most of its spread is that of the noise levels that were drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from bfs_model.latent import flow
from bfs_model.objectives import Draw, LatentBatch
from bfs_platform.train.report.gates import VALIDATION, HeldOut

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset

NUM_BANDS = 5
MOST_RECORDS = 256
_STEP = -1  # no step of any training draws with it


@runtime_checkable
class Validated(Protocol):
    """A task whose losses can be measured on a validation set."""

    held_out: HeldOut | None

    def validate(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """Losses with these weights: `NAME/BAND` for each band of noise levels, 0 the least noise, and their mean as `NAME`."""


def given(datasets: "Mapping[str, Dataset]") -> HeldOut | None:
    """The first records of the validation set, where one is given."""
    if (dataset := datasets.get(VALIDATION)) is None:
        return None
    return HeldOut(dataset, np.arange(min(MOST_RECORDS, len(dataset))), f"validation set {dataset.content_hash[:12]}")


def draw_in_band(batch: LatentBatch, seed: int, band: int, shared_noise: bool = True) -> Draw:
    """Noise and its level in a band, per sample: a pure function of (seed, sample id, band), the same noise in every band."""
    draw = Draw.for_batch(batch, seed, _STEP, shared_noise)
    return replace(draw, sigma=flow.within_band(draw.sigma, band, NUM_BANDS))


def banded(held_out: HeldOut, losses: Callable[[np.ndarray, int], dict[str, Tensor]]) -> dict[str, float]:
    """Means over the held-out records of `losses(rows, band)`, which gives one value [B] per record and name."""
    found: dict[str, list[float]] = {}
    for band in range(NUM_BANDS):
        for rows in held_out.batches():
            for name, values in losses(rows, band).items():
                found.setdefault(f"{name}/{band}", []).extend(values.tolist())
    means = {name: float(np.mean(values)) for name, values in found.items()}
    names = dict.fromkeys(name.partition("/")[0] for name in means)
    return {name: float(np.mean([means[f"{name}/{band}"] for band in range(NUM_BANDS)])) for name in names} | means
