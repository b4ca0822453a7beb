"""All metrics of one system on one record."""

import numpy as np

from bfs_model.compositing import composite_u8
from bfs_platform.evaluate import metrics
from bfs_platform.evaluate.models import Drawn
from bfs_platform.evaluate.samples import Sample

Figures = dict[str, float | None]
OBJECT_THRESHOLD = 0.5


def measure(drawn: Drawn, sample: Sample, effect_threshold: float) -> Figures:
    """Measure what a system delivered against the truth of a record. Keys are those of `catalogue.METRICS`.

    The composite errors are of the layer over the background, whatever composite was delivered; that one is held
    against the background where alpha is 0. Raises `ValueError` when sizes or modes are wrong.
    """
    layer, delivered = _arrays(drawn, sample)
    alpha = layer[..., 3] / np.float32(255)
    region = sample.region()
    image = composite_u8(layer, sample.background).astype(np.float32) / 255
    truth = sample.truth.astype(np.float32) / 255
    figures: Figures = {
        "composite_mae": metrics.mae(image, truth),
        "composite_psnr": metrics.psnr(image, truth),
        "composite_ssim": metrics.ssim(image, truth),
        "region_mae": metrics.mae(image, truth, region),
        "region_psnr": metrics.psnr(image, truth, region),
        "region_ssim": metrics.ssim(image, truth, region),
        "alpha_iou": metrics.iou(alpha > OBJECT_THRESHOLD, sample.object_mask),
        "effect_recall": None,
        "effect_precision": None,
        "alpha_outside": metrics.alpha_outside(alpha, region),
        "background_changed": metrics.background_changed(alpha, delivered, sample.background),
    }
    if sample.effect is not None:
        figures["effect_recall"] = metrics.effect_recall(alpha, sample.effect, sample.object_mask, effect_threshold)
        figures["effect_precision"] = metrics.effect_precision(alpha, sample.effect, sample.object_mask, effect_threshold)
    return figures


def _arrays(drawn: Drawn, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    size = (sample.background.shape[1], sample.background.shape[0])
    if drawn.layer.mode != "RGBA" or drawn.layer.size != size or drawn.composite.size != size:
        rule = f"{drawn.layer.mode} {drawn.layer.size} and a composite of {drawn.composite.size}"
        raise ValueError(f"the system delivered {rule} for a background of {size}")
    return np.asarray(drawn.layer), np.asarray(drawn.composite.convert("RGB"))
