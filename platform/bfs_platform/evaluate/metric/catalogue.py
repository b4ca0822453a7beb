"""Names of all metrics, what they mean and which way is better. Light: imported where only the names are needed.

Metrics of other packages come as entry points `bfs.metrics`: each names a `Metric` that also says how it is measured (`of`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform import extensions


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown and compared. `higher` tells whether more is better.

    `of(drawn, sample)` measures it, None where it is not defined; ours are measured together, in `measure`, and have none.

    Example:

        LEVEL = Metric("level", True, "mean level of the layer, 0…1", of=lambda drawn, sample: np.asarray(drawn.layer).mean() / 255)
    """

    label: str
    higher: bool
    meaning: str
    digits: int = 3
    of: Callable[[Any, Any], float | None] | None = None


METRICS = {
    "composite_mae": Metric("composite MAE", False, "mean absolute error of layer over background against the true composite, 0…1", 4),
    "composite_psnr": Metric("composite PSNR", True, "the same as peak signal-to-noise ratio in dB, at most 100", 2),
    "composite_ssim": Metric("composite SSIM", True, "the same as structural similarity (11-pixel Gaussian window)"),
    "region_mae": Metric("region MAE", False, "composite MAE inside box ∪ effect region", 4),
    "region_psnr": Metric("region PSNR", True, "composite PSNR inside box ∪ effect region", 2),
    "region_ssim": Metric("region SSIM", True, "composite SSIM inside box ∪ effect region"),
    "alpha_iou": Metric("object IoU", True, "layer (α > 0.5) against the object's mask, intersection over union"),
    "box_iou": Metric("box obedience", True, "bounding box of what the layer shows (α > 0.5) against the box asked for, as IoU"),
    "colour_recognised": Metric("colour right", True, "share of objects in which a classifier sees the colour that the prompt names"),
    "shape_recognised": Metric("shape right", True, "the same for the shape; the classifier's own accuracy is the column `truth`"),
    "effect_recall": Metric("effect recall", True, "share of the effect region beside the object that the layer covers (α > threshold)"),
    "effect_precision": Metric("effect precision", True, "share of what it covers beside the object that lies in the effect region"),
    "alpha_outside": Metric("α outside", False, "share of the layer's alpha that lies outside box ∪ effect region", 4),
    "alpha_error_object": Metric("α error, object", False, "extraction: mean |α − true α| over the object"),
    "alpha_error_effect": Metric("α error, effects", False, "extraction: the same over the effect region beside the object"),
    "alpha_error_elsewhere": Metric("α error, elsewhere", False, "extraction: the same over the rest of the picture", 4),
    "object_mae": Metric("object MAE", False, "extraction: error of the layer over the background, over the object", 4),
    "effect_mae": Metric("effect MAE", False, "extraction: the same over the effect region beside the object", 4),
    "edit_move_mae": Metric("moved", False, "editing: error where the scene with its object moved, or the moved layer, shows anything", 4),
    "edit_scale_mae": Metric("scaled", False, "editing: the same with the object at three quarters of its size", 4),
    "edit_duplicate_mae": Metric("duplicated", False, "editing: the same with a second object of this kind", 4),
    "edit_recolour_mae": Metric("recoloured", False, "editing: the same with the object in another colour", 4),
    "background_changed": Metric("background changed", False, "share of pixels under α = 0 that the composite changed; must be 0", 4),
}

# Of these, what only `metric.extraction` takes.
EXTRACTION = ("alpha_error_object", "alpha_error_effect", "alpha_error_elsewhere", "object_mae", "effect_mae")
# And what only records with edited truth have (`render_tabletop.py --edits`).
EDITING = ("edit_move_mae", "edit_scale_mae", "edit_duplicate_mae", "edit_recolour_mae")

# Taken by networks, and only where weights are named; see `evaluate.learned`.
LEARNED = {
    "clip_white": Metric("CLIP, on white", True, "CLIP score (×2.5, ViT-B/32) of the layer on white and the prompt, 0…2.5"),
    "clip_grey": Metric("CLIP, on grey", True, "the same with the layer on 50 % grey"),
    "dino": Metric("DINO", True, "cosine of DINOv2 class tokens of composite and true composite"),
    "musiq": Metric("MUSIQ", True, "no-reference quality of the composite, trained on KonIQ-10k, about 0…100", 2),
    "maniqa": Metric("MANIQA", True, "the same by MANIQA, 0…1"),
    "hpsv3": Metric("HPSv3", True, "human preference predicted for composite and prompt", 2),
}
# One figure for a list of records, not one per record.
CORPUS = {
    "kid": Metric("KID ×1000", False, "kernel distance between features of composites and true composites; about 0 or below: none", 2)
}


@cache
def installed() -> dict[str, Metric]:
    """The metrics of other packages. Raises `BadInput` for one that is no metric, or takes a name of ours."""
    found = {}
    for name, point in extensions.extensions(extensions.METRICS).items():
        metric = extensions.load(point)
        if name in METRICS | LEARNED | CORPUS:
            raise BadInput(extensions.METRICS, name, "is the name of a metric of ours", f"rename the entry point {point.value}")
        if not isinstance(metric, Metric) or metric.of is None:
            raise BadInput(extensions.METRICS, name, f"names {point.value}, which is no Metric with `of`", "see `catalogue.Metric`")
        found[name] = metric
    return found


def exact() -> dict[str, Metric]:
    """What is measured on every record: ours, and those of other packages."""
    return METRICS | installed()


def known() -> dict[str, Metric]:
    """All metrics."""
    return exact() | LEARNED | CORPUS


def is_worse_by(name: str, value: float, reference: float) -> float:
    """By how much `value` is worse than `reference`, in the metric's unit; negative when it is better."""
    metrics = known()
    higher = metrics[name].higher if name in metrics else False  # failed_fraction: less is better
    return reference - value if higher else value - reference
