"""From rows of a data set to tensors."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bfs_model.latent import draws, encoding
from bfs_model.latent.latents import box_masks
from bfs_model.objectives import LatentBatch

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset


_ENCODINGS = ("z_comp_mean", "z_fg_mean", "z_bg_mean", "prompt_embeds", "pooled_embeds")

EmptyLatents = Mapping[tuple[int, int], Tensor]


def empty_latents(rgba_vae: Any, datasets: "Iterable[Dataset]") -> EmptyLatents:
    """Latents [1, C, h, w] of empty layers, by the (height, width) of every image in the data sets. Computed once, at the start."""
    sizes = sorted({size for dataset in datasets for size in dataset.buckets()})
    return {size: encoding.empty_layer_latent(rgba_vae, *size).cpu() for size in sizes}


def by_size(dataset: "Dataset", count: int | None = None) -> list[np.ndarray]:
    """The first `count` rows of a data set, or all, in groups whose pictures are of one size."""
    rows = (bucket if count is None else bucket[bucket < count] for bucket in dataset.buckets().values())
    return [group for group in rows if len(group)]


def latent_batch(dataset: "Dataset", rows: np.ndarray, empty: EmptyLatents | None = None) -> LatentBatch:
    """Encoded training data of `rows`, every latent at the mean of its posterior.

    `empty` brings the latents of empty layers, where Eq. 7 is part of the loss.
    """
    table = dataset.take(rows, ["id", "height", "width", "box"])
    size = {(int(h), int(w)) for h, w in zip(table["height"], table["width"], strict=True)}
    assert len(size) == 1, "a batch holds one resolution"
    height, width = size.pop()
    encoded = {name: torch.from_numpy(values) for name, values in dataset.encodings(rows, _ENCODINGS).items()}
    return LatentBatch(
        ids=[str(i) for i in table["id"]],
        z_comp=encoded["z_comp_mean"],
        z_fg=encoded["z_fg_mean"],
        z_bg=encoded["z_bg_mean"],
        mask=box_masks(torch.from_numpy(table["box"]), height, width),
        prompt_embeds=encoded["prompt_embeds"],
        pooled_embeds=encoded["pooled_embeds"],
        z_empty=None if empty is None else empty[height, width],
    )


Prompt = tuple[Tensor, Tensor]


def without_some_prompts(batch: LatentBatch, nothing: Prompt, probability: float, seed: int, step: int) -> LatentBatch:
    """The batch with the prompts of some samples taken away: what classifier-free guidance needs (Ho and Salimans 2022).

    `nothing`: embeddings [1, L, D] and [1, P] of the empty prompt. Which samples depends on (seed, step, id) alone.
    """
    if probability == 0:
        return batch
    dropped = draws.uniform([(seed, step, i, "prompt") for i in batch.ids]) < probability
    tokens = torch.where(dropped[:, None, None], nothing[0], batch.prompt_embeds)
    return replace(batch, prompt_embeds=tokens, pooled_embeds=torch.where(dropped[:, None], nothing[1], batch.pooled_embeds))


def images(dataset: "Dataset", rows: np.ndarray, column: str) -> Tensor:
    """Images of a PNG column [B, C, H, W] in [-1, 1]."""
    return torch.stack([encoding.to_tensor(decode_png(data)) for data in dataset.take(rows, [column])[column]])


def masks(dataset: "Dataset", rows: np.ndarray, column: str) -> Tensor:
    """Masks of a PNG column [B, 1, H, W] in [0, 1]."""
    arrays = [np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.float32) / 255 for data in dataset.take(rows, [column])[column]]
    return torch.from_numpy(np.stack(arrays))[:, None]


def decode_png(data: bytes) -> np.ndarray:
    """Float image [H, W, C] in [0, 1] of a PNG that the project wrote."""
    image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGBA" if image.mode == "RGBA" else "RGB"), np.float32) / 255
