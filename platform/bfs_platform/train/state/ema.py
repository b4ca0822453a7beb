"""The average of the trained weights over the steps: sharper pictures than the last step's, at no cost in training.

It lives beside what the optimizer keeps, in float32 and in the same shards, so it is saved, restored and re-sharded as they are.
"""

from typing import Any

import torch

from bfs_platform.train.spec import EmaSpec
from bfs_platform.train.state import state


def begin(engine: Any) -> None:
    """Keep an average from now on, which starts as the weights. Before the first update."""
    state.allocate(engine, torch.tensor(0), averaged=True)
    for flat, values in state.flat_states(engine):
        values[state.EMA].copy_(flat)


@torch.no_grad()
def update(engine: Any, decay: float) -> None:
    """Move the average towards the weights, after an update.

    Three operations, each rounded by itself: one that multiplies and adds at once rounds the ends of a shard otherwise than its
    middle, and the result would depend on where shards begin.
    """
    for flat, values in state.flat_states(engine):
        average = values[state.EMA]
        average.add_(flat.sub(average).mul_(1 - decay))


def decay(spec: EmaSpec, num_updates: int, batch_size: int) -> float:
    """How much of the average stays at update `num_updates`, counted from 1: a pure function of it.

    The half-life grows with the samples seen up to `half_life_samples` (Karras et al., Analyzing and Improving the Training
    Dynamics of Diffusion Models, 2024, App. C), so that the random weights of the start are soon forgotten.
    """
    half_life = min(float(spec.half_life_samples), spec.ramp * num_updates * batch_size)
    return float(0.5 ** (batch_size / half_life))
