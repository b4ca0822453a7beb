"""Between ComfyUI's tensors and the service's pictures. IMAGE is float [B, H, W, C] in 0..1, MASK float [B, H, W] in 0..1.

A MASK that comes with a picture is 1 - alpha, as ComfyUI's Load Image gives and its Join Image with Alpha takes; a MASK that says
where something shall go is 1 there, as its mask editor paints it.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import torch
from PIL import Image


def to_png(image: torch.Tensor) -> bytes:
    """One picture of a batch, [H, W, 3 or 4], as PNG."""
    pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=3)
    return out.getvalue()


def to_image(png: bytes) -> torch.Tensor:
    """IMAGE [1, H, W, 3] of a PNG."""
    return _tensor(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")))


def to_layer(png: bytes) -> tuple[torch.Tensor, torch.Tensor]:
    """IMAGE [1, H, W, 3] and MASK [1, H, W] of an RGBA PNG."""
    return _layer(np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")))


def box_of(mask: torch.Tensor | None, box: tuple[int, int, int, int]) -> list[int]:
    """x0, y0, x1, y1 around what `mask`, [B, H, W] or [H, W], marks; `box` as x, y, width, height where it marks nothing."""
    marked = torch.zeros(0, 2) if mask is None else torch.nonzero(mask.reshape(-1, *mask.shape[-2:]).amax(dim=0) > 0.5)
    if not len(marked):
        x, y, width, height = box
        return [x, y, x + width, y + height]
    (y0, x0), (y1, x1) = marked.amin(dim=0).tolist(), marked.amax(dim=0).tolist()
    return [x0, y0, x1 + 1, y1 + 1]


def layers_of(document: bytes) -> tuple[torch.Tensor, torch.Tensor]:
    """All drawn layers of a document (.zip) on the whole canvas, from back to front: IMAGE [N, H, W, 3] and MASK [N, H, W]."""
    with zipfile.ZipFile(io.BytesIO(document)) as archive:
        described = json.loads(archive.read("manifest.json"))
        drawn = [entry for entry in described["layers"] if entry["role"] != "background"]
        placed = [_layer(_on_canvas(archive.read(entry["file"]), entry, described)) for entry in drawn]
    images, masks = zip(*placed)
    return torch.cat(images), torch.cat(masks)


def _on_canvas(png: bytes, entry: dict[str, Any], canvas: dict[str, Any]) -> np.ndarray:
    whole = Image.new("RGBA", (canvas["width"], canvas["height"]))
    whole.paste(Image.open(io.BytesIO(png)).convert("RGBA"), (entry["x"], entry["y"]))
    return np.asarray(whole)


def _layer(rgba: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = _tensor(rgba)
    return pixels[..., :3], 1 - pixels[..., 3]


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]
