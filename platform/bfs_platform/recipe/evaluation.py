"""Recipes of `jobs/evaluate.py` and `jobs/promote.py`."""

from bfs_platform.config.registry import recipe
from bfs_platform.data.spec import CaptionSpec
from bfs_platform.evaluate.learned.spec import THIS_PYTHON, LearnedSpec
from bfs_platform.evaluate.spec import CriticSpec, EvaluationSpec, PartsSpec
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
def tabletop_evaluation() -> EvaluationSpec:
    """On tabletop scenes: beside identity and truth also the truth through the RGBA VAE, and inpainting followed by matting."""
    return EvaluationSpec(baselines=("identity", "truth", "vae_truth", "two_step"), group_by=("material", "shape", "size"))


@recipe
def tabletop_extraction() -> EvaluationSpec:
    """Layers taken out of finished tabletop scenes, beside plain matting with the true mask: errors of alpha on object and effects."""
    return EvaluationSpec(task="extraction", baselines=("truth", "matting"), group_by=("material", "shape", "size"))


@recipe
def tabletop_parts() -> PartsSpec:
    """Full training against training without stage 1, stage 2, L_comp or L_reg: three seeds, the steps of the tabletop recipes."""
    return PartsSpec()


@recipe
def critic() -> CriticSpec:
    """Critics of composites on crops around object and effects: three trainings for each system."""
    return CriticSpec()


@recipe
def paper_evaluation() -> EvaluationSpec:
    """The paper's protocol on a RORem folder: 2,000 records drawn by seed, short side 512, masks as boxes, the learned metrics.

    Records without captions get them from BLIP-2, as the paper's do. A model on each GPU of 80 GB, however many the cluster has.
    Weights are looked for on the hub; `--set learned.clip=FOLDER`, `learned.dino=FOLDER` and `models.blip2=FOLDER` name local ones.
    MUSIQ, MANIQA and HPSv3 are taken where their packages are installed. The paper's competitors come with `--set baselines=…`.
    """
    learned = LearnedSpec(
        clip="openai/clip-vit-base-patch32", dino="facebook/dinov2-base", kid="dino", pyiqa=THIS_PYTHON, hpsv3=THIS_PYTHON
    )
    return EvaluationSpec(
        num_records=2000,
        short_side=512,
        kept_records=20,
        group_by=(),
        recogniser=None,
        caption=CaptionSpec(kind="blip2"),
        learned=learned,
        actors=None,
        gpus_per_actor=1.0,
    )


@recipe
def paper_evaluation_1x24gb() -> EvaluationSpec:
    """The same on one card of 24 GB: the base in four bits, and without HPSv3, whose seven billion weights find no room beside it."""
    spec = paper_evaluation()
    learned = spec.learned.model_copy(update={"hpsv3": None})
    models = spec.models.model_copy(update={"batch_size": 2})
    return spec.model_copy(update={"memory": "nf4", "learned": learned, "models": models})


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
