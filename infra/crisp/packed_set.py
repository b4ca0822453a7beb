"""A training set small enough to be carried: latents in eight bits, each caption once."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bfs_model.latent.latents import box_masks
from bfs_model.objectives import LatentBatch

LATENTS = ("z_comp", "z_fg", "z_bg")
SUFFIX = ".set.safetensors"
NOTHING = ""  # the caption of a sample that has none
_PIECE = 15 * 2**20


class PackedSet:
    """Encoded records of one size, all of them in the memory of one device.

    `ids`: names of the records. Tensors: `z_comp`, `z_fg`, `z_bg` latents [N, C, h, w]; `box` [N, 4] in pixels of `size` (height,
    width); `caption` [N], the row of `prompt_embeds` [P, L, D] and `pooled_embeds` [P, E] of each record, where row 0 is of no caption;
    `z_empty` [1, C, h, w].
    """

    def __init__(self, ids: list[str], size: tuple[int, int], tensors: Mapping[str, Tensor]) -> None:
        self.ids, self.size, self.tensors = ids, size, dict(tensors)

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Write it: latents as codes of eight bits with a scale for each channel, the rest in half precision or as integers."""
        stored = {name: value.half() if value.is_floating_point() else value for name, value in self.tensors.items()}
        for name in LATENTS:
            scale = self.tensors[name].abs().amax(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6) / 127
            stored[name] = (self.tensors[name] / scale).round().to(torch.int8)
            stored[f"{name}_scale"] = scale
        save_file(
            {name: value.contiguous() for name, value in stored.items()}, path, {"about": json.dumps({"ids": self.ids, "size": self.size})}
        )

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Self:
        """Read what `save` wrote, as float32."""
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
        stored = load_file(path, device=str(device))
        for name in LATENTS:
            stored[name] = stored[name].float() * stored.pop(f"{name}_scale")
        tensors = {name: value.float() if value.is_floating_point() else value.long() for name, value in stored.items()}
        return cls(about["ids"], tuple(about["size"]), tensors)

    def batch(self, rows: Tensor, dropped: Tensor | None = None) -> LatentBatch:
        """The records `rows` [B], those of `dropped` [B] without their caption."""
        t = self.tensors
        caption = t["caption"][rows] if dropped is None else t["caption"][rows].masked_fill(dropped, 0)
        return LatentBatch(
            ids=[self.ids[i] for i in rows.tolist()],
            **{name: t[name][rows] for name in LATENTS},
            mask=box_masks(t["box"][rows], *self.size),
            prompt_embeds=t["prompt_embeds"][caption],
            pooled_embeds=t["pooled_embeds"][caption],
            z_empty=t["z_empty"],
        )


def save_pieces(tensors: Mapping[str, Tensor], folder: Path, name: str) -> None:
    """Write `tensors` in half precision as `name-0.safetensors`, `name-1.safetensors`, … of at most 15 MiB each."""
    for number, piece in enumerate(_pieces(tensors)):
        save_file(piece, folder / f"{name}-{number}.safetensors")


def load_pieces(folder: Path, name: str) -> dict[str, Tensor]:
    """What `save_pieces` wrote, in half precision; nothing where it wrote nothing."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{name}-[0-9].safetensors")):
        found |= load_file(path)
    return found


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    piece: dict[str, Tensor] = {}
    num_bytes = 0
    for name, value in tensors.items():
        half = value.detach().half().cpu().contiguous()
        if piece and num_bytes + half.nbytes > _PIECE:
            yield piece
            piece, num_bytes = {}, 0
        piece[name] = half
        num_bytes += half.nbytes
    if piece:
        yield piece
