"""What is measured on one record, as small pure functions on numpy arrays.

Images are float [H, W, 3] in [0, 1], masks bool [H, W], alpha float [H, W] in [0, 1]. A metric that is not defined for a
record (an effect region that is unknown, a layer that covers nothing) is None and does not enter the mean.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from bfs_model.picture.boxes import Box

MAX_PSNR_DB = 100.0  # two equal images would be infinite, and no mean would survive that
_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5  # the 11-pixel Gaussian window of Wang et al. 2004
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def mae(image: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float | None:
    """Mean absolute error over the pixels of `region` (default: all)."""
    return _mean(np.abs(image - truth), region)


def psnr(image: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB for a peak of 1, at most `MAX_PSNR_DB`."""
    mse = _mean((image - truth) ** 2, region)
    if mse is None:
        return None
    return MAX_PSNR_DB if mse == 0 else min(MAX_PSNR_DB, -10 * math.log10(mse))


def ssim(image: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> float | None:
    """Structural similarity (Wang et al. 2004), mean over channels and over the pixels of `region`.

    Without a region, pixels whose window leaves the image do not count; with one they do, the image being mirrored there.
    An image smaller than the window is None.
    """
    if min(image.shape[:2]) <= 2 * _SSIM_RADIUS:
        return None
    similarity = ssim_map(image, truth)
    if region is None:
        similarity = similarity[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]
    return _mean(similarity, region)


def ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """SSIM at every pixel and channel: float64 [H, W, 3]."""
    x, y = image.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (var_x + var_y + _SSIM_C2)
    return np.asarray(luminance * structure)


def iou(first: np.ndarray, second: np.ndarray) -> float | None:
    """Intersection over union of two masks; None when both are empty."""
    union = _count(first | second)
    return _count(first & second) / union if union else None


def box_iou(found: Box | None, wanted: Box) -> float:
    """Intersection over union of two boxes; 0 when nothing was found."""
    if found is None:
        return 0.0
    width = min(found.x1, wanted.x1) - max(found.x0, wanted.x0)
    height = min(found.y1, wanted.y1) - max(found.y0, wanted.y0)
    shared = max(width, 0) * max(height, 0)
    return shared / (found.area + wanted.area - shared)


def effect_recall(alpha: np.ndarray, effect: np.ndarray, object_mask: np.ndarray, threshold: float) -> float | None:
    """Share of the effect region outside the object where alpha exceeds `threshold`."""
    effect = effect & ~object_mask
    total = _count(effect)
    return _count(effect & (alpha > threshold)) / total if total else None


def effect_precision(alpha: np.ndarray, effect: np.ndarray, object_mask: np.ndarray, threshold: float) -> float | None:
    """Share of the pixels outside the object where alpha exceeds `threshold` that belong to the effect region."""
    covered = (alpha > threshold) & ~object_mask
    total = _count(covered)
    return _count(covered & effect) / total if total else None


def alpha_outside(alpha: np.ndarray, region: np.ndarray) -> float | None:
    """Share of the layer's alpha that lies outside `region`; None for a layer without any."""
    total = float(alpha.sum(dtype=np.float64))
    return float(alpha[~region].sum(dtype=np.float64)) / total if total > 0 else None


def background_changed(alpha: np.ndarray, composite: np.ndarray, background: np.ndarray) -> float | None:
    """Share of the pixels with alpha exactly 0 where `composite` is not bit-identical to `background`; None if there are none."""
    untouched = alpha == 0
    total = _count(untouched)
    return _count((composite != background).any(axis=-1) & untouched) / total if total else None


def _count(mask: np.ndarray) -> int:
    return int(np.count_nonzero(mask))


def _mean(values: np.ndarray, region: np.ndarray | None) -> float | None:
    chosen = values if region is None else values[region]
    return float(chosen.mean(dtype=np.float64)) if chosen.size else None


def _blur(image: np.ndarray) -> np.ndarray:
    """Gaussian window over rows and columns, each channel by itself, mirrored at the border."""
    return np.asarray(gaussian_filter(image, _SSIM_SIGMA, mode="reflect", radius=_SSIM_RADIUS, axes=(0, 1)))
