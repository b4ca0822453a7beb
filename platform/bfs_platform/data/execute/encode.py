"""Latents and text embeddings of a shard, computed once here so that training never loads an encoder."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from bfs_model.errors import BadInput
from bfs_model.picture.images import read_image
from bfs_platform.data.execute.draft import Draft
from bfs_platform.data.model.base import device_of
from bfs_platform.data.shard.file import ENCODED_FIELDS, LATENTS, with_columns
from bfs_platform.data.spec import EncodeSpec

PICTURE_OF = {"z_bg": "background_png", "z_comp": "composite_png", "z_fg": "foreground_png"}
# What encoding does not touch stays on disk: of Flux, that is 24 GB.
UNUSED = ("transformer", "sharing", "compositor")


class Components(Protocol):
    """What an encoder needs of a `BFSPipeline`."""

    vae: Any
    rgba_vae: Any

    def encode_prompt(self, prompts: list[str]) -> tuple[Any, Any]: ...

    def unread(self, prompt: str) -> tuple[Any, ...]: ...

    def to(self, device: str) -> Any: ...


def load_components(base: str) -> Components:
    """The encoders of `base` (a bundle or a model), without its transformer and what works on it.

    In the precision that they are stored in, whatever BFS_MEMORY says: a set's identity does not know of that.
    """
    from bfs_model.sampling.pipeline import BFSPipeline

    skipped: dict[str, Any] = dict.fromkeys(UNUSED)
    return BFSPipeline.from_pretrained(base, memory="none", **skipped)


def check_sides(buckets: Iterable[tuple[int, int]], base: str) -> None:
    """Raise `BadInput` for a side whose latents cannot be packed in 2×2 patches: it is no multiple of twice the base VAE's factor."""
    from bfs_model.weight import bundle

    path = bundle.locate(bundle.root_of(base)) / "vae" / "config.json"
    try:
        factor = 2 ** (len(json.loads(path.read_bytes())["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput("base", path, f"does not say how much its VAE shrinks ({error})", "restore it, or name another base") from None
    for bucket in buckets:
        if any(side % (2 * factor) for side in bucket):
            rule = f"has a side that is not a multiple of {2 * factor}: the base's VAE shrinks {factor}×, and latents are packed 2×2"
            raise BadInput("buckets", f"{bucket[0]}x{bucket[1]}", rule, "round it, or set encode.enabled=false")


class Encoder:
    """Adds the encoded columns to a draft. Built once per actor; on the GPU when it is given one.

    The same rows give the same bytes on the same kind of machine: one thread, and batches cut within the shard.
    """

    def __init__(self, spec: EncodeSpec, base: str, components: Components | None = None) -> None:
        self.spec = spec
        self.pipe = components or load_components(base)
        self.device = device_of()
        if self.device != "cpu":
            self.pipe.to(self.device)

    def __call__(self, draft: Draft) -> Draft:
        """`draft` with means and standard deviations of the three latents, and the text embeddings.

        Its receipt counts, by encoder, the captions that were not read to their end or hold words that are no tokens.
        """
        start = time.perf_counter()
        shapes: dict[str, int] = {}
        unread = Counter(each.encoder for caption in draft.table["caption"].to_pylist() for each in self.pipe.unread(caption))
        if draft.table.num_rows:
            table, shapes = self.encode(draft.table)
            draft = replace(draft, table=table)
        seconds = draft.receipt.seconds | {"encode": time.perf_counter() - start}
        return replace(draft, receipt=replace(draft.receipt, seconds=seconds, shapes=shapes, unread=dict(unread)))

    def encode(self, table: pa.Table) -> tuple[pa.Table, dict[str, int]]:
        """A pixel table (not empty) with the encoded columns added, and their sizes."""
        import torch

        arrays: dict[str, list[Any]] = {f.name: [None] * table.num_rows for f in ENCODED_FIELDS}
        with torch.inference_mode():
            for rows in self._batches(table):
                chosen = table.take(pa.array(rows))
                for name in LATENTS:
                    mean, std = self._latents(name, chosen[PICTURE_OF[name]].to_pylist())
                    _scatter(arrays, rows, {f"{name}_mean": mean, f"{name}_std": std})
                tokens, pooled = self.pipe.encode_prompt(chosen["caption"].to_pylist())
                _scatter(arrays, rows, {"prompt_embeds": _array(tokens), "pooled_embeds": _array(pooled)})
        latent, tokens, pooled = (arrays[name][0] for name in ("z_comp_mean", "prompt_embeds", "pooled_embeds"))
        shapes = {
            "latent_channels": latent.shape[0],
            "vae_scale_factor": table["height"][0].as_py() // latent.shape[1],
            "text_tokens": tokens.shape[0],
            "text_dim": tokens.shape[1],
            "pooled_dim": pooled.shape[0],
        }
        return with_columns(table, arrays), shapes

    def _latents(self, name: str, pictures: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        import torch

        from bfs_model.latent.encoding import encode_images, to_tensor

        rgba = name == "z_fg"
        loaded = [read_image(data) for data in pictures]
        images = torch.stack([to_tensor((i.rgba() if rgba else i.rgb).astype(np.float32) / 255) for i in loaded])
        mean, std = encode_images(self.pipe.rgba_vae if rgba else self.pipe.vae, images)
        return _array(mean), _array(std)

    def _batches(self, table: pa.Table) -> list[list[int]]:
        """Row numbers, at most `batch_size` together, all of one size."""
        groups: dict[tuple[int, int], list[int]] = {}
        for row, size in enumerate(zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True)):
            groups.setdefault(size, []).append(row)
        step = self.spec.batch_size
        return [rows[i : i + step] for _, rows in sorted(groups.items()) for i in range(0, len(rows), step)]


def _scatter(arrays: dict[str, list[Any]], rows: list[int], values: dict[str, np.ndarray]) -> None:
    for name, batch in values.items():
        for row, value in zip(rows, batch, strict=True):
            arrays[name][row] = value


def _array(tensor: Any) -> np.ndarray:
    return tensor.float().cpu().numpy()
