"""What a training run is: a frozen specification; a recipe is a function that returns one."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from bfs_model.errors import BadInput
from bfs_platform.config import Spec
from bfs_platform.train.network_spec import Network

# Of networks that are measured on held-out records on the way; a "/" and a number after one names a band of noise levels.
_HELD_OUT_LOSSES = {"backbone": ("flow",), "sharing": ("flow_comp", "flow_fg", "comp")}
Positive = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Spec):
    """The optimizer and its learning rate over the steps.

    `kind`: `adamw`; `adamw8bit`, its moments in eight bits, a quarter of their memory (by the package `bitsandbytes`, not under ZeRO-3; a
    run goes on with the ranks and the ZeRO stage that it began with); `prodigy`, AdamW that finds its own rate (twice the state of
    AdamW): `lr` is then a factor on what it finds, 1 as a rule, and `d_coef` scales its estimate; `muon`, which moves each matrix along
    the nearest orthogonal one to its momentum and all else as AdamW does, at AdamW's rates (whole parameters: `zero.stage=0`).

    After the warm-up the rate stays, falls as half a cosine to a tenth, or (`linear`) stays and falls in a straight line to zero
    over the last `decay_share` of the steps: such a run may be made longer until the fall begins.
    """

    kind: Literal["adamw", "adamw8bit", "prodigy", "muon"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-4
    d_coef: Annotated[float, Field(gt=0)] = 1.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    decay_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    clip_norm: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def _finds_its_rate(self) -> "OptimizerSpec":
        if self.kind == "prodigy" and self.lr < 0.1:
            rule = "would be a factor on the rate that prodigy finds, and all but stop it"
            raise BadInput("optimizer.lr", self.lr, rule, "use optimizer.lr=1")
        if self.kind != "prodigy" and self.d_coef != 1:
            raise BadInput("optimizer.d_coef", self.d_coef, f"is not read by {self.kind}", "leave it out, or use optimizer.kind=prodigy")
        return self


class ZeroSpec(Spec):
    """DeepSpeed ZeRO. Stages 1 and 2 replicate the frozen base; stage 3 shards it too, for GPUs that cannot hold it."""

    stage: Literal[0, 1, 2, 3] = 2
    bf16: bool = False
    offload_optimizer: bool = False


class EmaSpec(Spec):
    """The average of the weights over the steps, which is what a run results in and what its pictures and held-out losses show.

    `half_life_samples`: after so many samples a step counts half; 0 keeps no average. It grows to that from the start on, as
    `ramp` times the samples seen. Checkpoints hold the weights themselves as well.
    """

    half_life_samples: Annotated[int, Field(ge=0)] = 0
    ramp: Annotated[float, Field(gt=0)] = 0.05


class GuardSpec(Spec):
    """Steps whose gradient norm, or loss, is more than so many times the median of the last 64 steps are left out, and their records
    named (`skipped.jsonl`). 0 leaves none out for it. Losses of flow matching spread with the noise levels: give them room.
    """

    norm_factor: Annotated[float, Field(ge=0)] = 0.0
    loss_factor: Annotated[float, Field(ge=0)] = 0.0


class BestSpec(Spec):
    """`metric`: the held-out loss (`flow_fg`, `comp`, …) whose least value over the run says which weights it results in; empty takes
    the last ones. After `patience` measurements without a lower one the run ends early; 0 never.
    """

    metric: str = ""
    patience: Annotated[int, Field(ge=0)] = 0


class CheckpointSpec(Spec):
    """How often a checkpoint is committed and how many are kept."""

    every_steps: Positive = 500
    keep: Positive = 2


class TrainSpec(Spec):
    """One training run of one network.

    `batch_size` is global: it is split over workers and micro-batches, and the result does not depend on the split.
    `num_workers=0` trains in the calling process, without a Ray cluster. With `min_workers` the run starts and goes on with
    as few as that when no more are to be had, at the same global batch; every `elastic_interval_s` seconds it grows again
    if it can. 0 means always `num_workers`. `autocast` multiplies matrices in bfloat16 while weights, gradients and
    losses stay float32: on CPUs that know bfloat16 a step takes half of the time. `attention` is the kernel of
    attention: torch's choice (`auto`), one by name, or the fastest of those as the first start of the run measures them (`measured`,
    `attention.json` beside the checkpoints): for the short sequences of small models on a CPU in bfloat16, `math` takes three quarters
    of the time of `flash`. `attention_backend`: one of another library instead, by the name that diffusers has for it (`flash_hub`,
    `sage`, …). `compile`: `blocks` compiles the blocks of a transformer, which takes minutes in the first step and a C++
    compiler. `memory`: `nf4` keeps the frozen base of sharing and of the shadow network in four bits
    (`bfs_model.weight.memory`), for one card that cannot hold it otherwise. `sample_every_steps=0` draws no pictures.
    `validate_every_steps`: how often the losses on a validation set are measured, where one is given; 0 is at the end only.
    """

    network: Network
    seed: int = 7
    num_steps: Positive
    batch_size: Positive
    micro_batch_size: Positive
    num_workers: Annotated[int, Field(ge=0)] = 1
    min_workers: Annotated[int, Field(ge=0)] = 0
    elastic_interval_s: Annotated[float, Field(ge=1)] = 60.0
    threads_per_worker: Positive = 1
    use_gpu: bool = False
    max_failures: Annotated[int, Field(ge=-1)] = 3
    gradient_checkpointing: bool = False
    autocast: bool = False
    attention: Literal["auto", "measured", "flash", "math", "efficient", "cudnn"] = "auto"
    attention_backend: str = ""
    compile: Literal["none", "blocks"] = "none"
    memory: Literal["none", "nf4"] = "none"
    log_every_steps: Positive = 10
    sample_every_steps: Annotated[int, Field(ge=0)] = 1000
    validate_every_steps: Annotated[int, Field(ge=0)] = 0
    experiment: str = "bfs"
    optimizer: OptimizerSpec = OptimizerSpec()
    ema: EmaSpec = EmaSpec()
    guard: GuardSpec = GuardSpec()
    best: BestSpec = BestSpec()
    zero: ZeroSpec = ZeroSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()

    @field_validator("experiment")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise BadInput("experiment", repr(value), "is empty", "name the MLflow experiment")
        return value

    @model_validator(mode="after")
    def _attends_in_one_way(self) -> "TrainSpec":
        if self.attention_backend and self.attention != "auto":
            rule = f"takes the place of torch's kernels, of which attention={self.attention} names one"
            raise BadInput("attention_backend", self.attention_backend, rule, "set one of them")
        return self

    @model_validator(mode="after")
    def _divides(self) -> "TrainSpec":
        share = max(self.num_workers, 1) * self.micro_batch_size
        if self.batch_size % share:
            lower = self.batch_size // share * share
            remedy = f"use {lower} or {lower + share}" if lower else f"use {share}"
            rule = f"is not divisible by {max(self.num_workers, 1)} workers x micro_batch_size {self.micro_batch_size}"
            raise BadInput("batch_size", self.batch_size, rule, remedy)
        return self

    @model_validator(mode="after")
    def _fits_the_network(self) -> "TrainSpec":
        if self.min_workers > self.num_workers:
            raise BadInput("min_workers", self.min_workers, f"is more than num_workers={self.num_workers}", "give at most as many")
        if self.network.kind != "sharing" and self.zero.stage == 3:
            raise BadInput("zero.stage", 3, f"is for the frozen base of sharing, and {self.network.kind} has none", "use 0, 1 or 2")
        if self.network.kind not in ("sharing", "shadow") and self.zero.bf16:
            rule = f"is for what is trained on a frozen base; {self.network.kind} is trained in float32"
            raise BadInput("zero.bf16", True, rule, "leave it out, or use autocast=true")
        if self.best.patience and not self.best.metric:
            raise BadInput("best.patience", self.best.patience, "has nothing to wait for", "name a held-out loss: best.metric=flow_fg")
        known = _HELD_OUT_LOSSES.get(self.network.kind, ())
        if self.best.metric and self.best.metric.partition("/")[0] not in known:
            remedy = f"use one of {', '.join(known)}" if known else "leave it out"
            raise BadInput("best.metric", self.best.metric, f"is no held-out loss of {self.network.kind}", remedy)
        if self.best.metric and not self.validate_every_steps:
            rule = "is measured at the end only"
            raise BadInput("best.metric", self.best.metric, rule, "set validate_every_steps")
        if self.memory != "none" and (self.network.kind not in ("sharing", "shadow") or self.zero.stage == 3):
            rule = f"is for a frozen base that every worker holds whole, not for {self.network.kind} under zero.stage={self.zero.stage}"
            raise BadInput("memory", self.memory, rule, "use memory=none, or zero.stage=2 for sharing or the shadow network")
        if self.compile != "none" and (self.network.kind not in ("sharing", "backbone", "shadow") or self.zero.stage == 3):
            rule = f"is for transformers whose blocks are whole, not for {self.network.kind} under zero.stage={self.zero.stage}"
            raise BadInput("compile", self.compile, rule, "use compile=none")
        if self.optimizer.kind == "muon" and self.zero.stage:
            raise BadInput("optimizer.kind", "muon", "needs whole matrices, which ZeRO cuts", "use zero.stage=0, or optimizer.kind=adamw")
        if self.optimizer.kind == "adamw8bit" and self.zero.stage == 3:
            raise BadInput("optimizer.kind", "adamw8bit", "does not know shards of ZeRO-3", "use zero.stage=2, or optimizer.kind=adamw")
        if self.optimizer.kind == "adamw8bit" and self.min_workers:
            rule = "changes the number of workers, and moments in eight bits belong to the shards of one number"
            raise BadInput("min_workers", self.min_workers, rule, "use min_workers=0, or optimizer.kind=adamw")
        if self.zero.bf16 and self.zero.stage == 0:
            raise BadInput("zero.stage", 0, "keeps no float32 masters beside bfloat16 weights", "use zero.stage=1")
        if self.zero.offload_optimizer and self.zero.stage == 0:
            raise BadInput("zero.offload_optimizer", True, "needs a sharded optimizer", "use zero.stage=1, 2 or 3")
        return self

    def changed(self, **settings: Any) -> "TrainSpec | None":
        """With other settings; None where they do not go together with the rest."""
        try:
            return TrainSpec.model_validate(self.model_copy(update=settings).model_dump())
        except (BadInput, ValidationError):
            return None

    @property
    def world_size(self) -> int:
        return max(self.num_workers, 1)

    @property
    def accumulation(self) -> int:
        """Micro-batches per worker and step."""
        return self.batch_size // (self.world_size * self.micro_batch_size)
