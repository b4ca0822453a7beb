"""Training recipes of the tabletop world: its networks, and both stages of the paper. `flux` beside this has the full size."""

from bfs_platform.config import recipe
from bfs_platform.train.network_spec import (
    BackboneSpec,
    CompositorSpec,
    RecogniserSpec,
    ReferenceSpec,
    RgbaVaeSpec,
    RgbVaeSpec,
    ShadowNetworkSpec,
    SharingSpec,
)
from bfs_platform.train.spec import CheckpointSpec, OptimizerSpec, TrainSpec, ZeroSpec


@recipe
def tabletop_rgb_vae() -> TrainSpec:
    """The RGB VAE of the tabletop world, from scratch."""
    return TrainSpec(
        network=RgbVaeSpec(),
        num_steps=4000,
        batch_size=16,
        micro_batch_size=16,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=1e-3, warmup_steps=100, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


@recipe
def tabletop_rgba_vae() -> TrainSpec:
    """The RGBA VAE of the tabletop world, grown from its RGB VAE."""
    return TrainSpec(
        network=RgbaVaeSpec(),
        num_steps=1500,
        batch_size=16,
        micro_batch_size=16,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=3e-4, betas=(0.5, 0.9), warmup_steps=50, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


@recipe
def tabletop_backbone() -> TrainSpec:
    """The inpainting backbone of the tabletop world: the stand-in for Flux-Fill."""
    return TrainSpec(
        network=BackboneSpec(prompt_dropout=0.1, noise_levels="logit_normal"),
        num_steps=6000,
        batch_size=32,
        micro_batch_size=32,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=5e-4, warmup_steps=200, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


@recipe
def tabletop_compositor() -> TrainSpec:
    """Φ of the tabletop world."""
    return TrainSpec(
        network=CompositorSpec(width=96, num_blocks=4),
        num_steps=2500,
        batch_size=16,
        micro_batch_size=16,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=1e-3, warmup_steps=50, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


@recipe
def tabletop_reference() -> TrainSpec:
    """The reference encoder of the tabletop world, distilled from its text encoder: the stand-in for Flux-Redux."""
    return TrainSpec(
        network=ReferenceSpec(),
        num_steps=3000,
        batch_size=64,
        micro_batch_size=64,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=1e-3, weight_decay=1e-2, warmup_steps=100, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


@recipe
def tabletop_recogniser() -> TrainSpec:
    """The classifier of shapes and colours that evaluation on the tabletop world uses."""
    return TrainSpec(
        network=RecogniserSpec(),
        num_steps=1500,
        batch_size=64,
        micro_batch_size=64,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=1e-3, weight_decay=1e-2, warmup_steps=50, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


@recipe
def tabletop_stage1() -> TrainSpec:
    """Stage 1 on the tabletop world (Eq. 8): two CPU workers, ZeRO-2."""
    return TrainSpec(
        network=SharingSpec(stage=1, comp_weight=0.1, prompt_dropout=0.1, rank=64, alpha=64.0, mixer_hidden=512),
        num_steps=2000,
        batch_size=16,
        micro_batch_size=8,
        num_workers=2,
        optimizer=OptimizerSpec(lr=5e-4, warmup_steps=50, schedule="cosine"),
    )


@recipe
def tabletop_stage2() -> TrainSpec:
    """Stage 2 on the tabletop world (80 % Eq. 9, 20 % Eq. 10), starting from the stage-1 model given as --base."""
    return TrainSpec(
        network=SharingSpec(stage=2, comp_weight=0.5, prompt_dropout=0.1, init="base", rank=64, alpha=64.0, mixer_hidden=512),
        num_steps=1000,
        batch_size=16,
        micro_batch_size=8,
        num_workers=2,
        optimizer=OptimizerSpec(lr=2e-4, warmup_steps=50, schedule="cosine"),
    )


@recipe
def demo_stage1() -> TrainSpec:
    """Stage 1 as `make demo` runs it: a few steps on from the shipped weights."""
    spec = tabletop_stage1()
    network = spec.network.model_copy(update={"init": "base"})
    return _short(spec.model_copy(update={"network": network, "num_steps": 12}), lr=2e-5)


@recipe
def demo_stage2() -> TrainSpec:
    """Stage 2 as `make demo` runs it: a few steps on from the stage-1 model."""
    return _short(tabletop_stage2().model_copy(update={"num_steps": 12}), lr=2e-5)


@recipe
def tabletop_shadow() -> TrainSpec:
    """The shadow network of the tabletop world, on top of its backbone."""
    return TrainSpec(
        network=ShadowNetworkSpec(rank=32, num_steps=8),
        num_steps=3000,
        batch_size=16,
        micro_batch_size=16,
        num_workers=0,
        threads_per_worker=2,
        optimizer=OptimizerSpec(lr=1e-3, warmup_steps=50, schedule="cosine"),
        zero=ZeroSpec(stage=1),
    )


def _short(spec: TrainSpec, lr: float) -> TrainSpec:
    return spec.model_copy(
        update={
            "optimizer": OptimizerSpec(lr=lr, warmup_steps=4),
            "checkpoint": CheckpointSpec(every_steps=6, keep=2),
            "sample_every_steps": 12,
            "log_every_steps": 4,
        }
    )
