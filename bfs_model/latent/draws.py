"""Random draws as pure functions of their names: (seed, step, sample id, …), never of a consumed stream."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(*key: object) -> torch.Generator:
    """A CPU generator that depends on `key` alone; keys are compared by their text."""
    digest = hashlib.sha256("\x1f".join(str(k) for k in key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def normal(keys: Sequence[tuple[object, ...]], shape: Sequence[int]) -> Tensor:
    """Standard normal noise [len(keys), *shape], each sample drawn from its own key."""
    return torch.stack([torch.randn(tuple(shape), generator=generator(*key)) for key in keys])


def uniform(keys: Sequence[tuple[object, ...]]) -> Tensor:
    """Uniform numbers [len(keys)] in [0, 1), each drawn from its own key."""
    return torch.cat([torch.rand(1, generator=generator(*key)) for key in keys])
