"""What an evaluation does, apart from which model and which pictures."""

from pydantic import Field

from bfs_platform.config import Spec


class EvaluationSpec(Spec):
    """An evaluation on a Ray cluster.

    `steps` None takes the model's own number. `effect_threshold` is the alpha above which a pixel counts as covered by an
    effect. `group_by` names keys of meta.json by whose values the figures are also given (the tabletop world's materials).
    `loader` builds the model, `"package.module:function"`, called with the folder or name of the model.
    """

    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1, le=1000)
    effect_threshold: float = Field(default=0.05, gt=0, lt=1)
    baselines: tuple[str, ...] = ("identity", "truth")
    group_by: tuple[str, ...] = ("material",)
    report_samples: int = Field(default=48, ge=0)
    thumbnail_side: int = Field(default=192, ge=32, le=1024)
    max_pixels: int = Field(default=50_000_000, ge=1)
    actors: int = Field(default=2, ge=1)
    gpus_per_actor: float = Field(default=0.0, ge=0)
    loader: str = "bfs_platform.evaluate.models:load_pipeline"
    experiment: str = "bfs-evaluate"
