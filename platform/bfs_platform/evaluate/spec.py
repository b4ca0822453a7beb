"""What an evaluation does, apart from which model and which pictures."""

from typing import Annotated, Literal

from pydantic import Field

from bfs_platform.config import Spec
from bfs_platform.config.functions import FunctionName
from bfs_platform.data.spec import CaptionSpec
from bfs_platform.evaluate.learned.spec import LearnedSpec


class CaptionModelSpec(Spec):
    """BLIP-2, a local folder or an id of the Hugging Face hub, and how many records it looks at together."""

    blip2: str = "Salesforce/blip2-opt-2.7b"
    batch_size: int = Field(default=8, ge=1)


class EvaluationSpec(Spec):
    """An evaluation on a Ray cluster.

    `task`: `insertion` draws the layer into the background; `extraction` takes it out of the true composite, and the figures
    of `extraction_figures` are added. `joint_guidance` and `refit` are settings of extraction (`BFSPipeline.extract`).
    `steps` None takes the model's own number. `effect_threshold` is the alpha above which a pixel counts as covered by an
    effect. `group_by` names keys of meta.json by whose values the figures are also given (the tabletop world's materials).
    `recogniser`: `embedded`, a folder, or null: the classifier for captions that name a tabletop shape and colour.
    `num_records` draws that many of the input by `records_seed` and their ids; null takes all. `short_side` scales every record
    to that many pixels first, as the paper does. Of the first `kept_records` records the pictures of all systems are kept at
    full size under `pictures/`, for a user study. `learned`: metrics that need weights.
    `caption`: where records get their captions that bring none: nowhere, and they are refused, or from BLIP-2 (`models.blip2`).
    `actors`: how many models draw at once, each with `gpus_per_actor` and a CPU; null is as many as the cluster holds, which is also
    the most. `memory`: how little of a GPU the frozen networks take (`bfs_model.weight.memory`); null leaves it to BFS_MEMORY.
    `loader` builds the model, `"package.module:function"`, called with the folder or name of the model, and with `memory` where that
    is set.
    """

    task: Literal["insertion", "extraction"] = "insertion"
    joint_guidance: float = Field(default=0.0, ge=0)
    refit: bool = False
    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1, le=1000)
    effect_threshold: float = Field(default=0.05, gt=0, lt=1)
    baselines: tuple[str, ...] = ("identity", "truth")
    group_by: tuple[str, ...] = ("material",)
    report_samples: int = Field(default=48, ge=0)
    thumbnail_side: int = Field(default=192, ge=32, le=1024)
    recogniser: str | None = "embedded"
    num_records: int | None = Field(default=None, ge=1)
    records_seed: int = Field(default=0, ge=0)
    short_side: int | None = Field(default=None, ge=16, le=8192)
    kept_records: int = Field(default=0, ge=0)
    learned: LearnedSpec = LearnedSpec()
    caption: CaptionSpec = CaptionSpec()
    models: CaptionModelSpec = CaptionModelSpec()
    max_pixels: int = Field(default=50_000_000, ge=1)
    actors: int | None = Field(default=2, ge=1)
    gpus_per_actor: float = Field(default=0.0, ge=0)
    memory: Literal["none", "offload", "int8", "fp8", "nf4"] | None = None
    loader: FunctionName = "bfs_platform.evaluate.system.models:load_pipeline"
    experiment: str = "bfs-evaluate"


Part = Literal["full", "without_stage1", "without_stage2", "without_comp", "without_reg"]


class PartsSpec(Spec):
    """What `bfs_platform.evaluate.run.parts` compares. `training` and `evaluation`: overrides (`key=value`) for all variants alike."""

    variants: tuple[Part, ...] = ("full", "without_stage1", "without_stage2", "without_comp", "without_reg")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (7, 8, 9)
    stage1_steps: int = Field(default=2000, ge=1)
    stage2_steps: int = Field(default=1000, ge=1)
    training: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ("baselines=[]", "report_samples=0", "num_records=100")


class CriticSpec(Spec):
    """`side` in pixels of the crops that a critic sees; `margin` around the box, where shadows fall, as a share of its longer side.

    Each of `seeds` is a training of its own: their spread is that of the figure.
    """

    side: Annotated[int, Field(ge=32, multiple_of=16)] = 96
    margin: Annotated[float, Field(ge=0)] = 0.5
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 24
    num_steps: Annotated[int, Field(ge=1)] = 400
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)] = 32
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (7, 8, 9)
