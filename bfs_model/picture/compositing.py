"""Eq. 1 and its surroundings: alpha blending, premultiplied resampling, padding of colours under alpha 0.

Images are sRGB with straight alpha, float32 in [0, 1]. Blending happens in display-referred sRGB, as image editors do.
"""

import numpy as np
from PIL import Image

Part = tuple[float, float, float, float]


def composite(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Eq. 1. C = F_a · F_rgb + (1 − F_a) · B.

    Args: `foreground` [..., H, W, 4] straight RGBA, `background` [..., H, W, 3]. Returns [..., H, W, 3].
    Bit-identical to `background` wherever alpha is 0.
    """
    alpha = foreground[..., 3:4]
    return np.where(alpha == 0, background, alpha * foreground[..., :3] + (1 - alpha) * background)


def composite_u8(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Eq. 1 on uint8 images, rounded to the nearest level; bit-identical to `background` where alpha is 0."""
    blended = composite(foreground.astype(np.float32) / 255, background.astype(np.float32) / 255)
    return np.where(foreground[..., 3:4] == 0, background, np.rint(blended * 255).astype(np.uint8))


def pad_rgb(foreground: np.ndarray, passes: int | None = None) -> np.ndarray:
    """Spread visible colours into the region under alpha 0, so that scaling in an editor shows no fringe.

    Args: `foreground` [H, W, 4], uint8 or float. Returns the same shape and dtype; visible pixels and alpha unchanged.
    """
    if not (foreground[..., 3] > 0).any():
        return foreground
    levels = [_visible(foreground)]
    while max(levels[-1].shape[:2]) > 1 and (passes is None or len(levels) <= passes):
        levels.append(_halve(levels[-1]))
    colour = levels[-1]
    for level in reversed(levels[:-1]):
        up = np.repeat(np.repeat(colour, 2, axis=0), 2, axis=1)[: level.shape[0], : level.shape[1]]
        colour = np.where(level[..., 3:4] > 0, level, up)
    rgb = colour[..., :3] / np.maximum(colour[..., 3:4], 1e-8)
    if foreground.dtype == np.uint8:
        rgb = np.rint(rgb)
    out = foreground.copy()
    hidden = foreground[..., 3] == 0
    out[hidden, :3] = rgb[hidden].astype(foreground.dtype)
    return out


def resize_rgba(foreground: np.ndarray, width: int, height: int, part: Part | None = None) -> np.ndarray:
    """Resample straight RGBA float [H, W, 4] to [height, width, 4]: premultiply, resample each channel, divide again.

    `part`: left, top, right, bottom of the region to resample, in pixels, fractions allowed; everything by default.
    """
    if part is None and foreground.shape[:2] == (height, width):
        return foreground
    alpha = foreground[..., 3:4]
    planes = np.concatenate([foreground[..., :3] * alpha, alpha], axis=-1)
    planes = np.clip(resize(planes, width, height, part), 0, 1)
    alpha = planes[..., 3:4]
    rgb = np.where(alpha > 1e-6, planes[..., :3] / np.maximum(alpha, 1e-6), 0)
    return np.concatenate([np.clip(rgb, 0, 1), alpha], axis=-1)


def resize(image: np.ndarray, width: int, height: int, part: Part | None = None) -> np.ndarray:
    """Resample a float32 [H, W, C] image, or a `part` of it (see `resize_rgba`), channel by channel.

    Growing is bicubic. Shrinking is an area average: exact (box filter) by whole factors; by other factors the box filter
    would shift edges by up to half a pixel, so Hamming, which keeps alpha inside [0, 1] as well.
    """
    left, top, right, bottom = part or (0, 0, image.shape[1], image.shape[0])
    across, down = (right - left) / width, (bottom - top) / height
    if across <= 1 and down <= 1:
        method = Image.Resampling.BICUBIC
    elif max(abs(across - round(across)), abs(down - round(down))) < 1e-6:
        method = Image.Resampling.BOX
    else:
        method = Image.Resampling.HAMMING
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)) for c in range(image.shape[-1])]
    return np.stack([np.asarray(p.resize((width, height), method, (left, top, right, bottom))) for p in planes], axis=-1)


def _visible(foreground: np.ndarray) -> np.ndarray:
    weight = (foreground[..., 3:4] > 0).astype(np.float32)
    return np.concatenate([foreground[..., :3].astype(np.float32) * weight, weight], axis=-1)


def _halve(level: np.ndarray) -> np.ndarray:
    height, width = (level.shape[0] + 1) // 2 * 2, (level.shape[1] + 1) // 2 * 2
    padded = np.zeros((height, width, 4), np.float32)
    padded[: level.shape[0], : level.shape[1]] = level
    return padded.reshape(height // 2, 2, width // 2, 2, 4).sum(axis=(1, 3))
