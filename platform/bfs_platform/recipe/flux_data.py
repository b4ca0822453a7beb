"""Recipes of data sets at full size, with the learned models of the paper: BLIP-2, ObjectClear, ViTMatte and the shadow network.

For pictures without captions, backgrounds or mattes of their own, as RORem's: what a source brings is overwritten only where its remains
of effects are known. The shadow network comes from jobs/train_shadow.py: `--set models.flux_shadow=DIR`. Models share one GPU of a node.
"""

from bfs_platform.config.registry import recipe
from bfs_platform.data.spec import (
    BackgroundSpec,
    CaptionSpec,
    CheckSpec,
    DataSpec,
    EncodeSpec,
    ExecutionSpec,
    MattingSpec,
    PoolSpec,
    PoolsSpec,
    ShadowSpec,
)
from bfs_platform.recipe.data import PHOTOGRAPHS

# Twice the sides of `PHOTOGRAPHS`.
LARGE = tuple((2 * height, 2 * width) for height, width in PHOTOGRAPHS)


@recipe
def flux_pixels() -> DataSpec:
    """Pictures of stage 1 at short side 512 without latents: what the RGBA VAE is trained on."""
    return _learned(1).model_copy(update={"encode": EncodeSpec(enabled=False)})


@recipe
def flux_pixels_1024() -> DataSpec:
    """Pictures of stage 1 at short side 1024 without latents."""
    return flux_pixels().model_copy(update={"buckets": LARGE})


@recipe
def flux_data_stage1() -> DataSpec:
    """Stage-1 set at short side 512 with the paper's learned models and shadows."""
    return _learned(1)


@recipe
def flux_data_stage1_1024() -> DataSpec:
    """Stage-1 set at short side 1024."""
    return _learned(1).model_copy(update={"buckets": LARGE})


@recipe
def flux_data_stage2() -> DataSpec:
    """Stage-2 set at short side 512 with the paper's learned models; surrogates by ViTMatte."""
    return _learned(2)


@recipe
def flux_data_stage2_1024() -> DataSpec:
    """Stage-2 set at short side 1024."""
    return _learned(2).model_copy(update={"buckets": LARGE})


def _learned(stage: int) -> DataSpec:
    shared = PoolSpec(workers=1, gpus=0.2)
    pools = PoolsSpec(blip2=shared, objectclear=shared, vitmatte=shared, flux_shadow=shared)
    return DataSpec(
        stage=1 if stage == 1 else 2,
        buckets=PHOTOGRAPHS,
        records_per_shard=64,
        checks=CheckSpec(min_object_pixels=256),
        caption=CaptionSpec(kind="blip2"),
        background=BackgroundSpec(kind="objectclear"),
        matting=MattingSpec(kind="vitmatte"),
        shadow=ShadowSpec(kind="flux_shadow" if stage == 1 else "none"),
        execution=ExecutionSpec(encoders=1, gpus_per_encoder=0.2, models=pools),
    )
