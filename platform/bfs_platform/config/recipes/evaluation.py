"""Recipes of `jobs/evaluate.py` and `jobs/promote.py`."""

from bfs_platform.config.registry import recipe
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.registry.spec import Bound, PromotionSpec


@recipe
def evaluation() -> EvaluationSpec:
    """Exact metrics against the truth, with identity and truth as baselines, the model's own number of steps."""
    return EvaluationSpec()


@recipe
def evaluation_quick() -> EvaluationSpec:
    """The same with four steps and a short report: for a look while training goes on."""
    return EvaluationSpec(steps=4, report_samples=12)


@recipe
def promotion() -> PromotionSpec:
    """Integrity and a smoke sample; an attached evaluation must show an untouched background and no failures."""
    return PromotionSpec(thresholds={"background_changed": Bound(max=0.0), "failed_fraction": Bound(max=0.0)})


@recipe
def promotion_strict() -> PromotionSpec:
    """As `promotion`, evaluation required, and none of the main figures may fall clearly below the champion's."""
    return PromotionSpec(
        thresholds={"background_changed": Bound(max=0.0), "failed_fraction": Bound(max=0.0), "alpha_iou": Bound(min=0.5)},
        may_lose={"region_mae": 0.005, "alpha_iou": 0.02, "effect_recall": 0.05},
        require_evaluation=True,
    )
