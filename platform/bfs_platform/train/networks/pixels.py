"""What the trainings of both autoencoders share: errors of edges, memory layout, posterior noise."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bfs_model import draws, encoding


def edges(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical differences: small details weigh as much as large areas."""
    horizontal = F.l1_loss(a[..., :, 1:] - a[..., :, :-1], b[..., :, 1:] - b[..., :, :-1])
    return horizontal + F.l1_loss(a[..., 1:, :] - a[..., :-1, :], b[..., 1:, :] - b[..., :-1, :])


def channels_last(images: Tensor) -> Tensor:
    """The layout in which convolutions take half the time on a CPU; weights stay contiguous, as DeepSpeed wants them."""
    return images.contiguous(memory_format=torch.channels_last)


def latent_noise(vae: Any, images: Tensor, seed: int, step: int, ids: Sequence[str]) -> Tensor:
    """Standard normal noise of the size of the latents of `images`, drawn per sample from (seed, step, id)."""
    factor = encoding.spatial_factor(vae)
    shape = (vae.config.latent_channels, images.shape[-2] // factor, images.shape[-1] // factor)
    return draws.normal([(seed, step, i, "posterior") for i in ids], shape)
