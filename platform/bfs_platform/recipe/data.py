"""Recipes of `jobs/build_stage1.py` and `jobs/build_stage2.py`."""

from bfs_platform.config.registry import recipe
from bfs_platform.data.spec import BackgroundSpec, CheckSpec, DataSpec, EncodeSpec, ShadowSpec

TABLETOP = ((128, 128),)
# Short side 512 as in the paper (§5), areas up to 1024×512, both orientations.
PHOTOGRAPHS = ((512, 512), (512, 640), (640, 512), (512, 768), (768, 512), (512, 1024), (1024, 512))


@recipe
def tabletop_data_stage1() -> DataSpec:
    """Stage-1 set of the tabletop world: 128×128, closed-form matting, procedural shadows, encoded."""
    return DataSpec(stage=1, buckets=TABLETOP)


@recipe
def tabletop_data_rendered() -> DataSpec:
    """Stage-1 set of the tabletop world with its rendered shadows, reflections and refractions in place of simulated ones."""
    return DataSpec(stage=1, buckets=TABLETOP, shadow=ShadowSpec(kind="dataset"))


@recipe
def tabletop_data_stage2() -> DataSpec:
    """Stage-2 set of the tabletop world: the rendered pictures, with a matte as surrogate."""
    return DataSpec(stage=2, buckets=TABLETOP)


@recipe
def tabletop_pixels() -> DataSpec:
    """Stage-1 pictures of the tabletop world without latents: what the VAEs and the compositor are trained on."""
    return DataSpec(stage=1, buckets=TABLETOP, encode=EncodeSpec(enabled=False))


@recipe
def rorem_data_stage1() -> DataSpec:
    """Stage-1 set of RORem at short side 512, in seven resolution buckets. It brings no captions: set caption.kind=blip2."""
    return DataSpec(stage=1, buckets=PHOTOGRAPHS, records_per_shard=64, checks=CheckSpec(min_object_pixels=256))


@recipe
def rorem_data_stage2() -> DataSpec:
    """Stage-2 set of RORem at short side 512, in seven resolution buckets; as in the paper with the two learned models:
    caption.kind=blip2, as RORem brings no captions, and background.kind=objectclear, as its own keep remains of effects.
    """
    return DataSpec(stage=2, buckets=PHOTOGRAPHS, records_per_shard=64, checks=CheckSpec(min_object_pixels=256))


@recipe
def desobav2_data() -> DataSpec:
    """DESOBAv2 at full resolution as a stage-2 set, for the shadow network: the background is the picture without shadow."""
    return DataSpec(
        stage=2,
        buckets=PHOTOGRAPHS,
        records_per_shard=64,
        default_caption="an object",
        checks=CheckSpec(min_object_pixels=256),
        background=BackgroundSpec(kind="harmonic", margin=0.0),
        encode=EncodeSpec(enabled=False),
    )
