"""Recipes of data sets at full size, with the learned models of the paper: BLIP-2, ObjectClear, ViTMatte and the shadow network.

For pictures without captions, backgrounds or mattes of their own, as RORem's: what a source brings is overwritten only where its remains
of effects are known. The shadow network comes from jobs/train_shadow.py: `--set models.flux_shadow=DIR`.

A model's share of a GPU is its share of 80 GB, estimated from its weights and what a batch takes: whichever come to lie on one GPU fit
it. All of a build together take one GPU, and a cluster with more works on as many shards at once (`execution.models`).
`_1x24gb` is for one card of 24 GB, pictures of 512 pixels: no more than two models fit it, the shadow network with its base in four bits.
"""

from collections.abc import Mapping
from typing import Any

from bfs_platform.config.registry import recipe
from bfs_platform.data.spec import (
    BackgroundSpec,
    CaptionSpec,
    CheckSpec,
    DataSpec,
    EncodeSpec,
    ExecutionSpec,
    MattingSpec,
    ModelsSpec,
    PoolSpec,
    PoolsSpec,
    ShadowSpec,
)
from bfs_platform.recipe.data import PHOTOGRAPHS

# Twice the sides of `PHOTOGRAPHS`: a quarter of the pictures at a time takes the same memory.
_LARGE = {
    "buckets": tuple((2 * height, 2 * width) for height, width in PHOTOGRAPHS),
    "models": ModelsSpec(batch_size=2),
    "encode": EncodeSpec(batch_size=2),
}
_POOLS = PoolsSpec(blip2=PoolSpec(gpus=0.15), objectclear=PoolSpec(gpus=0.2), vitmatte=PoolSpec(gpus=0.05), flux_shadow=PoolSpec(gpus=0.4))
# One of two models on a card of 24 GB. ViTMatte, a small one, works on the CPU there.
_HALF = PoolSpec(workers=1, gpus=0.5)


@recipe
def flux_pixels() -> DataSpec:
    """Pictures of stage 1 at short side 512 without latents: what the RGBA VAE is trained on."""
    return _learned(1).model_copy(update={"encode": EncodeSpec(enabled=False)})


@recipe
def flux_pixels_1024() -> DataSpec:
    """Pictures of stage 1 at short side 1024 without latents."""
    return _learned(1).model_copy(update={**_LARGE, "encode": EncodeSpec(enabled=False)})


@recipe
def flux_pixels_1x24gb() -> DataSpec:
    """The same as `flux_pixels` on one card of 24 GB: captions by BLIP-2, shadows by the network, backgrounds as the source has them."""
    parts = {"caption": CaptionSpec(kind="blip2"), "encode": EncodeSpec(enabled=False)}
    return _on_a_card(1, parts, blip2=_HALF, flux_shadow=_HALF)


@recipe
def flux_data_stage1() -> DataSpec:
    """Stage-1 set at short side 512 with the paper's learned models and shadows."""
    return _learned(1)


@recipe
def flux_data_stage1_1024() -> DataSpec:
    """Stage-1 set at short side 1024."""
    return _learned(1).model_copy(update=_LARGE)


@recipe
def flux_data_stage1_1x24gb() -> DataSpec:
    """Stage-1 set on one card of 24 GB: captions from a file, the source's own backgrounds, as in the paper's stage 1."""
    return _on_a_card(1, {}, encoder=0.5, flux_shadow=_HALF)


@recipe
def flux_data_stage2() -> DataSpec:
    """Stage-2 set at short side 512 with the paper's learned models; surrogates by ViTMatte."""
    return _learned(2)


@recipe
def flux_data_stage2_1024() -> DataSpec:
    """Stage-2 set at short side 1024."""
    return _learned(2).model_copy(update=_LARGE)


@recipe
def flux_data_stage2_1x24gb() -> DataSpec:
    """Stage-2 set on one card of 24 GB: captions from a file, backgrounds by ObjectClear."""
    return _on_a_card(2, {"background": BackgroundSpec(kind="objectclear")}, encoder=0.5, objectclear=_HALF)


def _learned(stage: int) -> DataSpec:
    return DataSpec(
        stage=1 if stage == 1 else 2,
        buckets=PHOTOGRAPHS,
        records_per_shard=64,
        checks=CheckSpec(min_object_pixels=256),
        caption=CaptionSpec(kind="blip2"),
        background=BackgroundSpec(kind="objectclear"),
        matting=MattingSpec(kind="vitmatte"),
        shadow=ShadowSpec(kind="flux_shadow" if stage == 1 else "none"),
        execution=ExecutionSpec(gpus_per_encoder=0.2, models=_POOLS),
    )


def _on_a_card(stage: int, parts: Mapping[str, Any], encoder: float | int = 0, **pools: PoolSpec) -> DataSpec:
    """Of 24 GB: the models in `pools`, a few pictures at a time; nothing else is learned but the mattes, unless `parts` says so."""
    plain = {"caption": CaptionSpec(), "background": BackgroundSpec()}
    small = {"models": ModelsSpec(batch_size=2), "encode": EncodeSpec(batch_size=2)}
    held = {"memory": "nf4"} if "flux_shadow" in pools else {}
    execution = ExecutionSpec(encoders=1, gpus_per_encoder=encoder, models=PoolsSpec(**pools))
    return _learned(stage).model_copy(update={**plain, **small, **held, **parts, "execution": execution})
