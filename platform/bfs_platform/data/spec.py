"""What a dataset build is told: the stages and their settings. Every stage receives only its own part."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bfs_platform.config import Spec

Fraction = Annotated[float, Field(ge=0, le=1)]
Bucket = tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]]


class CheckSpec(Spec):
    """When a record is set aside. Pixels are counted before anything is decoded."""

    max_pixels: Annotated[int, Field(ge=1)] = 16_777_216
    min_object_pixels: Annotated[int, Field(ge=1)] = 12
    # Mean difference, in levels of 255, between composite and background under the mask. Less: the mask misses the object.
    min_difference: Annotated[float, Field(ge=0)] = 3.0
    max_box_fraction: Fraction = 0.9
    max_upscale: Annotated[float, Field(ge=1)] = 1.5
    min_score: float | None = None
    # Near-copies (same box, difference hash at most this many of 64 bits apart) are dropped; null keeps them.
    duplicate_bits: Annotated[int, Field(ge=0, le=16)] | None = 3


class MattingSpec(Spec):
    """Object mask → alpha and foreground colours. The unknown band grows with the square root of the object's area."""

    kind: Literal["closed_form"] = "closed_form"
    band_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    max_band: Annotated[int, Field(ge=1)] = 24


class BackgroundSpec(Spec):
    """Where the clean background comes from. `margin` is how far the filled region reaches, in units of √(object's area)."""

    kind: Literal["dataset", "harmonic"] = "dataset"
    margin: Annotated[float, Field(ge=0)] = 0.15


class ShadowSpec(Spec):
    """Which shadow provider augments the layers of stage 1."""

    kind: Literal["procedural", "none"] = "procedural"
    reflection_chance: Fraction = 0.15


class EncodeSpec(Spec):
    """Latents and text embeddings, computed once, here. `batch_size` images at a time, of one resolution bucket."""

    enabled: bool = True
    batch_size: Annotated[int, Field(ge=1)] = 8


class ExecutionSpec(Spec):
    """How a build is spread over the cluster. Nothing here changes a byte of the result, so it is not part of its identity."""

    cpu_workers: Annotated[int, Field(ge=1)] | None = None
    encoders: Annotated[int, Field(ge=1)] | None = None
    gpus_per_encoder: Annotated[float, Field(ge=0)] = 0.0


class DataSpec(Spec):
    """A training set: stage 1 {F̂, B, M̂, Ĉ} with simulated shadows, or stage 2 {C, B, M, S} as photographed."""

    stage: Literal[1, 2]
    seed: int = 7
    # (height, width) of the images; each record goes to the one nearest to its aspect.
    buckets: Annotated[tuple[Bucket, ...], Field(min_length=1)]
    loosen_box: Fraction = 0.1
    default_caption: str = ""
    records_per_shard: Annotated[int, Field(ge=1)] = 32
    max_records: Annotated[int, Field(ge=1)] | None = None
    max_reject_rate: Fraction = 0.05
    checks: CheckSpec = CheckSpec()
    background: BackgroundSpec = BackgroundSpec()
    matting: MattingSpec = MattingSpec()
    shadow: ShadowSpec = ShadowSpec()
    encode: EncodeSpec = EncodeSpec()
    execution: ExecutionSpec = ExecutionSpec()

    @model_validator(mode="after")
    def _buckets_are_even(self) -> "DataSpec":
        # Latents are packed in 2×2 patches behind a VAE that shrinks at least 4×.
        if any(side % 8 for bucket in self.buckets for side in bucket):
            raise ValueError("has a side that is not a multiple of 8; round it")
        return self

    def identity(self) -> dict[str, Any]:
        """The resolved specification without `execution`: what belongs into the manifest, and loads as a recipe again."""
        resolved = self.resolved()
        resolved["spec"].pop("execution")
        return resolved

    def content(self) -> dict[str, Any]:
        """What decides the bytes of a shard. A tolerance for rejects, or where to stop, does not."""
        ignored = {"execution", "max_reject_rate", "max_records"}
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in ignored}
