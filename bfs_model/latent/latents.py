"""Tokens: packing of latents, position ids, and the mask layout of Flux-Fill (diffusers `pipeline_flux_fill.py`)."""

import torch
from torch import Tensor

from bfs_model.shapes import Float


def pack(latents: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens features"]:
    """Fold each 2×2 patch of latents into one token: [B, C, H, W] → [B, H/2·W/2, 4C]."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h // 2 * (w // 2), c * 4)


def unpack(tokens: Float[Tensor, "batch tokens features"], height: int, width: int) -> Float[Tensor, "batch channels height width"]:
    """Undo `pack`; `height` and `width` are those of the latents."""
    b, _, f = tokens.shape
    return tokens.view(b, height // 2, width // 2, f // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, f // 4, height, width)


def pack_mask(mask: Float[Tensor, "batch 1 rows columns"], factor: int) -> Float[Tensor, "batch tokens features"]:
    """Flux-Fill's mask: every `factor`×`factor` pixel block becomes channels of its latent, then `pack`.

    Args: `mask` in pixels, 1 where the object goes; rows and columns are multiples of 2·factor.
    Returns: [B, rows/(2·factor) · columns/(2·factor), 4·factor²].
    """
    b, _, rows, columns = mask.shape
    h, w = rows // factor, columns // factor
    return pack(mask.view(b, h, factor, w, factor).permute(0, 2, 4, 1, 3).reshape(b, factor * factor, h, w))


def box_masks(boxes: Tensor, rows: int, columns: int) -> Float[Tensor, "batch 1 rows columns"]:
    """Rasterise boxes [B, 4] (x0, y0, x1, y1, pixels, half-open) to masks of 0 and 1."""
    y = torch.arange(rows, device=boxes.device).view(1, rows, 1)
    x = torch.arange(columns, device=boxes.device).view(1, 1, columns)
    x0, y0, x1, y1 = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).float().unsqueeze(1)


def condition(
    background: Float[Tensor, "batch channels height width"], mask: Float[Tensor, "batch 1 rows columns"], factor: int
) -> Float[Tensor, "batch tokens features"]:
    """κ of Eq. 6 in the image stream: packed background latent and packed mask. The background is not masked (paper §3)."""
    return torch.cat([pack(background), pack_mask(mask, factor).to(background.dtype)], dim=-1)


def image_ids(height: int, width: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Float[Tensor, "tokens 3"]:
    """Position ids (0, row, column) of the tokens of `height`×`width` latents."""
    ids = torch.zeros(height // 2, width // 2, 3)
    ids[..., 1] = torch.arange(height // 2)[:, None]
    ids[..., 2] = torch.arange(width // 2)[None, :]
    return ids.view(-1, 3).to(device=device, dtype=dtype)


def text_ids(num_tokens: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Float[Tensor, "tokens 3"]:
    """Position ids of text tokens: all zero."""
    return torch.zeros(num_tokens, 3, device=device, dtype=dtype)
