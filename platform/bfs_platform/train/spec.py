"""What a training run is: a frozen specification; a recipe is a function that returns one."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bfs_model.errors import BadInput
from bfs_platform.config import Spec
from bfs_platform.train.networks.spec import Network

Positive = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Spec):
    """AdamW and its learning rate over the steps."""

    lr: Annotated[float, Field(gt=0)] = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: Annotated[float, Field(ge=0)] = 1.0


class ZeroSpec(Spec):
    """DeepSpeed ZeRO. Stages 1 and 2 replicate the frozen base; stage 3 shards it too, for GPUs that cannot hold it."""

    stage: Literal[0, 1, 2, 3] = 2
    bf16: bool = False
    offload_optimizer: bool = False


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
    losses stay float32: on CPUs that know bfloat16 a step takes about three fifths of the time. `sample_every_steps=0` draws
    no pictures.
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
    log_every_steps: Positive = 10
    sample_every_steps: Annotated[int, Field(ge=0)] = 1000
    experiment: str = "bfs"
    optimizer: OptimizerSpec = OptimizerSpec()
    zero: ZeroSpec = ZeroSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()

    @field_validator("experiment")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise BadInput("experiment", repr(value), "is empty", "name the MLflow experiment")
        return value

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
        if self.zero.bf16 and self.zero.stage == 0:
            raise BadInput("zero.stage", 0, "keeps no float32 masters beside bfloat16 weights", "use zero.stage=1")
        if self.zero.offload_optimizer and self.zero.stage == 0:
            raise BadInput("zero.offload_optimizer", True, "needs a sharded optimizer", "use zero.stage=1, 2 or 3")
        return self

    @property
    def world_size(self) -> int:
        return max(self.num_workers, 1)

    @property
    def accumulation(self) -> int:
        """Micro-batches per worker and step."""
        return self.batch_size // (self.world_size * self.micro_batch_size)
