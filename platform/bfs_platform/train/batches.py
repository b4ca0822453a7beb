"""From rows of a data set to tensors."""

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bfs_model import draws, encoding
from bfs_model.latents import box_masks
from bfs_model.objectives import LatentBatch

if TYPE_CHECKING:
    from bfs_platform.data.shards import Dataset


def latent_batch(dataset: "Dataset", rows: np.ndarray, seed: int, step: int) -> LatentBatch:
    """Encoded training data of `rows`: targets sampled from their posteriors by (seed, step, id), the background at its mean."""
    table = dataset.take(rows, ["id", "height", "width"])
    ids = [str(i) for i in table["id"]]
    sampled = {}
    for name in ("z_comp", "z_fg"):
        mean, std = (torch.from_numpy(dataset.latents(f"{name}_{part}", rows)) for part in ("mean", "std"))
        sampled[name] = mean + std * draws.normal([(seed, step, i, name) for i in ids], mean.shape[1:])
    size = {(int(h), int(w)) for h, w in zip(table["height"], table["width"], strict=True)}
    assert len(size) == 1, "a batch holds one resolution"
    height, width = size.pop()
    return LatentBatch(
        ids=ids,
        z_comp=sampled["z_comp"],
        z_fg=sampled["z_fg"],
        z_bg=torch.from_numpy(dataset.latents("z_bg_mean", rows)),
        mask=box_masks(torch.from_numpy(dataset.boxes(rows)), height, width),
        prompt_embeds=torch.from_numpy(dataset.prompt_embeds(rows)),
        pooled_embeds=torch.from_numpy(dataset.pooled_embeds(rows)),
    )


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
