"""Training recipes at full size, on FLUX.1-Fill: the RGBA VAE, Φ, the shadow network, and both stages.

Unless its name says otherwise, a recipe is for one machine with eight GPUs of 80 GB and pictures of 512 pixels: `_1024` is for larger
pictures, `_1x80gb`, `_64x80gb` and `_1x24gb` for one GPU, for 64, and for one card of 24 GB, which holds the frozen base in four bits.
All see the same number of samples. `bfs train plan` says what each takes; docs/training.md walks through them.
"""

import math
from typing import Any

from bfs_platform.config import recipe
from bfs_platform.train.network_spec import CompositorSpec, RgbaVaeSpec, ShadowNetworkSpec, SharingSpec
from bfs_platform.train.spec import CheckpointSpec, EmaSpec, GuardSpec, OptimizerSpec, TrainSpec, ZeroSpec

_ONE = {"num_workers": 1}
_CARD = {"num_workers": 1, "gradient_checkpointing": True, "memory": "nf4"}
_LARGE = {"gradient_checkpointing": True}
# Noise levels, and Eq. 9 beside Eq. 10, spread the losses of batches by a few times: ten times the usual one is a fault of records.
_GUARD = GuardSpec(norm_factor=10.0, loss_factor=10.0)


@recipe
def flux_rgba_vae() -> TrainSpec:
    """The RGBA VAE, grown from FLUX's own, on crops of 512 around what a layer shows: eight GPUs, as AlphaVAE is trained."""
    network = RgbaVaeSpec(crop=512, perceptual="gradients")
    optimizer = OptimizerSpec(lr=1e-5, betas=(0.5, 0.9), warmup_steps=100, schedule="cosine")
    return _small(network, num_steps=20000, batch_size=8, micro_batch_size=1, optimizer=optimizer, half_life=8000)


@recipe
def flux_rgba_vae_1x80gb() -> TrainSpec:
    """The same on one GPU of 80 GB."""
    return flux_rgba_vae().model_copy(update=_ONE)


@recipe
def flux_rgba_vae_64x80gb() -> TrainSpec:
    """The same on 64 GPUs of 80 GB, a crop on each: eight times the batch."""
    return _wide(flux_rgba_vae(), 8)


@recipe
def flux_rgba_vae_1x24gb() -> TrainSpec:
    """The same on one card of 24 GB, on crops of 256."""
    return flux_rgba_vae().model_copy(update={**_ONE, "network": RgbaVaeSpec(crop=256, perceptual="gradients")})


@recipe
def flux_compositor() -> TrainSpec:
    """Φ on FLUX's latents, with the RGBA VAE that was trained before it."""
    optimizer = OptimizerSpec(lr=2e-4, warmup_steps=200, schedule="cosine")
    return _small(CompositorSpec(), num_steps=50000, batch_size=32, micro_batch_size=4, optimizer=optimizer, half_life=50000)


@recipe
def flux_compositor_1x80gb() -> TrainSpec:
    """The same on one GPU of 80 GB."""
    return flux_compositor().model_copy(update=_ONE)


@recipe
def flux_compositor_64x80gb() -> TrainSpec:
    """The same on 64 GPUs of 80 GB, two latents on each: four times the batch."""
    return _wide(flux_compositor().model_copy(update={"micro_batch_size": 2}))


@recipe
def flux_compositor_1x24gb() -> TrainSpec:
    """The same on one card of 24 GB."""
    return flux_compositor().model_copy(update=_ONE)


@recipe
def flux_shadow() -> TrainSpec:
    """The shadow network as its authors train theirs: rank 256, 22,000 steps of 8 pictures, one on each GPU, lr 3e-5 scaled by 8."""
    return TrainSpec(
        network=ShadowNetworkSpec(),
        num_steps=22000,
        batch_size=8,
        micro_batch_size=1,
        num_workers=8,
        threads_per_worker=8,
        use_gpu=True,
        gradient_checkpointing=True,
        sample_every_steps=0,
        optimizer=OptimizerSpec(lr=2.4e-4, warmup_steps=500, schedule="cosine"),
        guard=_GUARD,
        zero=ZeroSpec(stage=2, bf16=True),
    )


@recipe
def flux_shadow_1x80gb() -> TrainSpec:
    """The same on one GPU of 80 GB."""
    return flux_shadow().model_copy(update=_ONE)


@recipe
def flux_shadow_64x80gb() -> TrainSpec:
    """The same on 64 GPUs of 80 GB, a picture on each: eight times the batch."""
    return _wide(flux_shadow(), 8)


@recipe
def flux_shadow_1x24gb() -> TrainSpec:
    """The same on one card of 24 GB, with a LoRA of rank 64: four bits, recomputation, the optimizer's moments in eight bits."""
    optimizer = flux_shadow().optimizer.model_copy(update={"kind": "adamw8bit"})
    return flux_shadow().model_copy(update={**_CARD, "network": ShadowNetworkSpec(rank=64), "optimizer": optimizer})


@recipe
def flux_stage1() -> TrainSpec:
    """Stage 1 (Eq. 8) on FLUX.1-Fill: bf16, ZeRO-2."""
    return TrainSpec(
        network=SharingSpec(stage=1, comp_weight=0.1),
        num_steps=20000,
        batch_size=32,
        micro_batch_size=1,
        num_workers=8,
        threads_per_worker=8,
        use_gpu=True,
        sample_every_steps=0,
        validate_every_steps=1000,
        attention="measured",
        optimizer=OptimizerSpec(lr=1e-4, warmup_steps=500),
        guard=_GUARD,
        ema=EmaSpec(half_life_samples=30000),
        zero=ZeroSpec(stage=2, bf16=True),
        checkpoint=CheckpointSpec(every_steps=500, keep=3),
    )


@recipe
def flux_stage1_1024() -> TrainSpec:
    """Stage 1 at 1024 pixels."""
    return flux_stage1().model_copy(update=_LARGE)


@recipe
def flux_stage1_1x80gb() -> TrainSpec:
    """Stage 1 on one GPU of 80 GB."""
    return flux_stage1().model_copy(update=_ONE)


@recipe
def flux_stage1_1x80gb_1024() -> TrainSpec:
    """Stage 1 at 1024 pixels on one GPU of 80 GB."""
    return flux_stage1().model_copy(update=_ONE | _LARGE)


@recipe
def flux_stage1_64x80gb() -> TrainSpec:
    """Stage 1 on 64 GPUs of 80 GB: four times the batch, twice the rate, a quarter of the steps."""
    return _wide(flux_stage1())


@recipe
def flux_stage1_64x80gb_1024() -> TrainSpec:
    """Stage 1 at 1024 pixels on 64 GPUs of 80 GB."""
    return _wide(flux_stage1()).model_copy(update=_LARGE)


@recipe
def flux_stage1_1x24gb() -> TrainSpec:
    """Stage 1 on one card of 24 GB: four bits, recomputation, the optimizer's state in host memory."""
    return _card(flux_stage1())


@recipe
def flux_stage1_1x24gb_1024() -> TrainSpec:
    """Stage 1 at 1024 pixels on one card of 24 GB."""
    return _card(flux_stage1())


@recipe
def flux_stage2() -> TrainSpec:
    """Stage 2 on FLUX.1-Fill, from the stage-1 model given as --base."""
    network = SharingSpec(stage=2, comp_weight=0.5, init="base")
    return flux_stage1().model_copy(update={"network": network, "num_steps": 10000, "optimizer": OptimizerSpec(lr=5e-5, warmup_steps=200)})


@recipe
def flux_stage2_1024() -> TrainSpec:
    """Stage 2 at 1024 pixels."""
    return flux_stage2().model_copy(update=_LARGE)


@recipe
def flux_stage2_1x80gb() -> TrainSpec:
    """Stage 2 on one GPU of 80 GB."""
    return flux_stage2().model_copy(update=_ONE)


@recipe
def flux_stage2_1x80gb_1024() -> TrainSpec:
    """Stage 2 at 1024 pixels on one GPU of 80 GB."""
    return flux_stage2().model_copy(update=_ONE | _LARGE)


@recipe
def flux_stage2_64x80gb() -> TrainSpec:
    """Stage 2 on 64 GPUs of 80 GB."""
    return _wide(flux_stage2())


@recipe
def flux_stage2_64x80gb_1024() -> TrainSpec:
    """Stage 2 at 1024 pixels on 64 GPUs of 80 GB."""
    return _wide(flux_stage2()).model_copy(update=_LARGE)


@recipe
def flux_stage2_1x24gb() -> TrainSpec:
    """Stage 2 on one card of 24 GB."""
    return _card(flux_stage2())


@recipe
def flux_stage2_1x24gb_1024() -> TrainSpec:
    """Stage 2 at 1024 pixels on one card of 24 GB."""
    return _card(flux_stage2())


def _card(spec: TrainSpec) -> TrainSpec:
    """A step takes minutes there: every one is told, else monitoring would take the run for stuck."""
    return spec.model_copy(update={**_CARD, "log_every_steps": 1, "zero": ZeroSpec(stage=2, bf16=True, offload_optimizer=True)})


def _wide(spec: TrainSpec, factor: int = 4) -> TrainSpec:
    """On 64 GPUs, `factor` times the batch. The noise of a gradient falls with the root of it, and so the rate rises with the root."""
    o = spec.optimizer
    optimizer = o.model_copy(update={"lr": math.sqrt(factor) * o.lr, "warmup_steps": max(100, o.warmup_steps // factor)})
    checkpoint = CheckpointSpec(every_steps=spec.checkpoint.every_steps // factor, keep=3)
    every = {name: getattr(spec, name) // factor for name in ("num_steps", "sample_every_steps", "validate_every_steps")}
    sizes = {"num_workers": 64, "batch_size": factor * spec.batch_size}
    return spec.model_copy(update={**sizes, **every, "optimizer": optimizer, "checkpoint": checkpoint})


def _small(network: Any, num_steps: int, batch_size: int, micro_batch_size: int, optimizer: OptimizerSpec, half_life: int) -> TrainSpec:
    """A VAE or Φ: every worker holds all of it."""
    return TrainSpec(
        network=network,
        num_steps=num_steps,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        num_workers=8,
        threads_per_worker=8,
        use_gpu=True,
        autocast=True,
        sample_every_steps=1000,
        optimizer=optimizer,
        ema=EmaSpec(half_life_samples=half_life),
        guard=_GUARD,
        zero=ZeroSpec(stage=1),
        checkpoint=CheckpointSpec(every_steps=1000, keep=3),
    )
