"""Names of all metrics, what they mean and which way is better. Light: imported where only the names are needed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown and compared. `higher` tells whether more is better."""

    label: str
    higher: bool
    meaning: str
    digits: int = 3


METRICS = {
    "composite_mae": Metric("composite MAE", False, "mean absolute error of layer over background against the true composite, 0…1", 4),
    "composite_psnr": Metric("composite PSNR", True, "the same as peak signal-to-noise ratio in dB, at most 100", 2),
    "composite_ssim": Metric("composite SSIM", True, "the same as structural similarity (11-pixel Gaussian window)"),
    "region_mae": Metric("region MAE", False, "composite MAE inside box ∪ effect region", 4),
    "region_psnr": Metric("region PSNR", True, "composite PSNR inside box ∪ effect region", 2),
    "region_ssim": Metric("region SSIM", True, "composite SSIM inside box ∪ effect region"),
    "alpha_iou": Metric("object IoU", True, "layer (α > 0.5) against the object's mask, intersection over union"),
    "effect_recall": Metric("effect recall", True, "share of the effect region beside the object that the layer covers (α > threshold)"),
    "effect_precision": Metric("effect precision", True, "share of what it covers beside the object that lies in the effect region"),
    "alpha_outside": Metric("α outside", False, "share of the layer's alpha that lies outside box ∪ effect region", 4),
    "background_changed": Metric("background changed", False, "share of pixels under α = 0 that the composite changed; must be 0", 4),
}


def is_worse_by(name: str, value: float, reference: float) -> float:
    """By how much `value` is worse than `reference`, in the metric's unit; negative when it is better."""
    higher = METRICS[name].higher if name in METRICS else False  # failed_fraction: less is better
    return reference - value if higher else value - reference
