"""All metrics of one system on one record."""

from typing import Protocol

import numpy as np

from bfs_model.picture.boxes import Box, bounding_box
from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.metric import metrics
from bfs_platform.evaluate.metric.catalogue import installed
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn
from bfs_platform.tabletop.vocabulary import words_of

Figures = dict[str, float | None]
OBJECT_THRESHOLD = 0.5


class Recogniser(Protocol):
    """Names what stands in a box of a picture."""

    def knows(self, shape: str, colour: str) -> tuple[bool, bool]: ...

    def recognise(self, picture: np.ndarray, box: Box) -> tuple[str, str]:
        """Shape and colour in `box` of `picture` (uint8 [H, W, 3])."""
        ...


def measure(drawn: Drawn, sample: Sample, effect_threshold: float, recogniser: Recogniser | None = None) -> Figures:
    """Measure what a system delivered against the truth of a record. Keys are those of `catalogue.exact` but `EXTRACTION` and
    `EDITING`.

    The composite errors are of the layer over the background, whatever composite was delivered; that one is held
    against the background where alpha is 0. Of a system without layers the composite is measured as delivered, and what
    concerns a layer is None. Raises `ValueError` when sizes or modes are wrong.
    """
    layer, delivered = _arrays(drawn, sample)
    alpha = layer[..., 3] / np.float32(255)
    region = sample.region()
    picture = composite_u8(layer, sample.background) if drawn.has_layer else delivered
    image = picture.astype(np.float32) / 255
    truth = sample.truth.astype(np.float32) / 255
    figures: Figures = {
        "composite_mae": metrics.mae(image, truth),
        "composite_psnr": metrics.psnr(image, truth),
        "composite_ssim": metrics.ssim(image, truth),
        "region_mae": metrics.mae(image, truth, region),
        "region_psnr": metrics.psnr(image, truth, region),
        "region_ssim": metrics.ssim(image, truth, region),
        "alpha_iou": metrics.iou(alpha > OBJECT_THRESHOLD, sample.object_mask),
        "box_iou": metrics.box_iou(bounding_box(alpha > OBJECT_THRESHOLD), sample.box),
        "colour_recognised": None,
        "shape_recognised": None,
        "effect_recall": None,
        "effect_precision": None,
        "alpha_outside": metrics.alpha_outside(alpha, region),
        "background_changed": metrics.background_changed(alpha, delivered, sample.background),
    }
    if not drawn.has_layer:
        figures |= dict.fromkeys(("alpha_iou", "box_iou", "alpha_outside", "background_changed"))
    elif sample.effect is not None:
        figures["effect_recall"] = metrics.effect_recall(alpha, sample.effect, sample.object_mask, effect_threshold)
        figures["effect_precision"] = metrics.effect_precision(alpha, sample.effect, sample.object_mask, effect_threshold)
    words = words_of(sample.caption) if recogniser is not None else None
    if recogniser is not None and words is not None:
        shape, colour = recogniser.recognise(picture, sample.box)
        known = recogniser.knows(*words)  # what it has no word for it cannot be asked
        figures["shape_recognised"] = float(shape == words[0]) if known[0] else None
        figures["colour_recognised"] = float(colour == words[1]) if known[1] else None
    return figures | {name: metric.of(drawn, sample) for name, metric in installed().items() if metric.of is not None}


def judged(drawn: Drawn, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The picture that is judged and what it should be, uint8 [H, W, 3].

    The layer over the input background against the true composite; for a system without layers, its composite; for a system
    that takes a composite apart, its background against the true one, as the paper does it.
    """
    if drawn.background is not None:
        return np.asarray(drawn.background.convert("RGB")), sample.background
    if not drawn.has_layer:
        return np.asarray(drawn.composite.convert("RGB")), sample.truth
    return composite_u8(np.asarray(drawn.layer), sample.background), sample.truth


def _arrays(drawn: Drawn, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    size = (sample.background.shape[1], sample.background.shape[0])
    if drawn.layer.mode != "RGBA" or drawn.layer.size != size or drawn.composite.size != size:
        rule = f"{drawn.layer.mode} {drawn.layer.size} and a composite of {drawn.composite.size}"
        raise ValueError(f"the system delivered {rule} for a background of {size}")
    return np.asarray(drawn.layer), np.asarray(drawn.composite.convert("RGB"))
