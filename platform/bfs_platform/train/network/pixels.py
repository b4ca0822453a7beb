"""What the trainings of both autoencoders share: errors of edges, memory layout, posterior noise, crops."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_model.latent import draws, encoding

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset


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


def decoder_noise(vae: Any, largest: float, seed: int, step: int, ids: Sequence[str]) -> Tensor:
    """Standard deviations [B, 1, 1, 1] in the encoder's units, up to `largest` in those of normalised latents, drawn per sample."""
    largest = largest / vae.config.scaling_factor
    return largest * draws.uniform([(seed, step, i, "spread") for i in ids]).view(-1, 1, 1, 1)


def check_crop(size: int, groups: Sequence[np.ndarray], dataset: "Dataset") -> None:
    """Raises `BadInput` when a picture of the data set is smaller than a crop."""
    sides = dataset.take([int(rows[0]) for rows in groups], ["height", "width"])
    smallest = min(int(length) for lengths in sides.values() for length in lengths)
    if size > smallest:
        raise BadInput("network.crop", size, f"is larger than pictures of {dataset.root}, {smallest} pixels", f"use at most {smallest}")


def crops(images: Tensor, size: int, seed: int, step: int, ids: Sequence[str], wanted: Tensor | None = None) -> Tensor:
    """A square of `size` pixels out of each image, at a place drawn from (seed, step, id).

    `wanted` bool [B, H, W]: the square holds a pixel drawn from these, where there are any.
    """
    shares = torch.stack([draws.uniform([(seed, step, i, name) for i in ids]) for name in ("row", "column", "pixel")], dim=1)
    out = []
    for number, image in enumerate(images):
        pixels = wanted[number].nonzero() if wanted is not None else torch.zeros(0, 2)
        row, column = _corner(image.shape[-2:], size, shares[number].tolist(), pixels)
        out.append(image[:, row : row + size, column : column + size])
    return torch.stack(out)


def _corner(shape: Sequence[int], size: int, shares: list[float], pixels: Tensor) -> list[int]:
    """The upper left corner of a square in an image of `shape`; around one of `pixels` [N, 2] if there are any."""
    if not len(pixels):
        return [int(share * (length - size + 1)) for length, share in zip(shape, shares, strict=False)]
    pixel = pixels[int(shares[2] * len(pixels))].tolist()
    return [min(max(at - int(share * size), 0), length - size) for at, length, share in zip(pixel, shape, shares, strict=False)]
