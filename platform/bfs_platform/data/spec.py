"""What a dataset build is told: the stages and their settings. Every stage receives only its own part."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bfs_model.errors import BadInput
from bfs_platform.config import Spec
from bfs_platform.config.functions import FunctionName

KIND = "dataset"  # of manifests
MEASURES = ("sharpness", "contrast", "exposure")
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
    """Object mask → alpha and foreground colours. The unknown band grows with the square root of the object's area.

    `mask` takes the mask for the alpha and the picture for the colours: for sets from which no layer is learned.
    """

    kind: Literal["closed_form", "vitmatte", "mask"] = "closed_form"
    band_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    max_band: Annotated[int, Field(ge=1)] = 24


class BackgroundSpec(Spec):
    """Where the clean background comes from. `margin` is how far the filled region reaches, in units of √(object's area)."""

    kind: Literal["dataset", "harmonic", "objectclear"] = "dataset"
    margin: Annotated[float, Field(ge=0)] = 0.15


class MaskSpec(Spec):
    """Where the object mask comes from: the source, or for records that have only a box, SAM 2."""

    kind: Literal["given", "sam2"] = "given"


class CaptionSpec(Spec):
    """Where captions come from: the source, or BLIP-2 for those that have none (`replace`: for all)."""

    kind: Literal["metadata", "blip2"] = "metadata"
    replace: bool = False
    max_tokens: Annotated[int, Field(ge=1)] = 77


class FilterSpec(Spec):
    """Records whose object does not look like their caption are set aside: cosine similarity of CLIP below `min_score`."""

    kind: Literal["none", "clip"] = "none"
    min_score: Annotated[float, Field(ge=-1, le=1)] = 0.2


class ModelsSpec(Spec):
    """Pretrained models that stages may name: each a local folder, or an id of the Hugging Face hub. Safetensors only."""

    sam2: str = "facebook/sam2.1-hiera-small"
    blip2: str = "Salesforce/blip2-opt-2.7b"
    objectclear: str = "jixin0101/ObjectClear"
    vitmatte: str = "hustvl/vitmatte-small-composition-1k"
    clip: str = "openai/clip-vit-base-patch32"
    # Written by jobs/train_shadow.py.
    flux_shadow: str = "shadow_network"
    # Records of one size that a model looks at together.
    batch_size: Annotated[int, Field(ge=1)] = 8
    # ObjectClear's published settings.
    objectclear_steps: Annotated[int, Field(ge=1)] = 20
    objectclear_guidance: Annotated[float, Field(ge=0)] = 2.5
    # Null: as many as the network was stored with.
    flux_shadow_steps: Annotated[int, Field(ge=1)] | None = None


class ShadowSpec(Spec):
    """Where the effects in the layers of stage 1 come from.

    `procedural` needs no weights; `flux_shadow` is the network `models.flux_shadow`; `dataset` takes the effects that the
    source itself shows, where it knows their region (the tabletop world, OBER); `none` leaves objects without any.
    """

    kind: Literal["procedural", "none", "flux_shadow", "dataset"] = "procedural"
    reflection_chance: Fraction = 0.15


class LayersSpec(Spec):
    """Layers that a source gives whole, with their effects. `max_error`: how far, in levels of 255, they may be from its composite,
    laid over its background and measured where either shows anything. JPEG and scaling stay below 4."""

    max_error: Annotated[float, Field(ge=0)] = 8.0


class BoundSpec(Spec):
    """What of a measure is too little: below `min`, or in the lowest share `worst` of the whole set."""

    min: float | None = None
    worst: Annotated[float, Field(ge=0, lt=1)] = 0.0


class CurationSpec(Spec):
    """What is left out when the whole set is there; `bfs data show` says how the measures lie. Near-copies are those of
    `checks.duplicate_bits`, with the object in the same box, or with `box_overlap` of both boxes in common.

    `apart_from`: sets whose pictures must not occur, such as those that evaluate; hashes at most `apart_bits` away count as the same.
    """

    box_overlap: Fraction = 1.0
    apart_from: tuple[str, ...] = ()
    apart_bits: Annotated[int, Field(ge=0, le=7)] = 3
    sharpness: BoundSpec = BoundSpec()
    contrast: BoundSpec = BoundSpec()
    exposure: BoundSpec = BoundSpec()


class CropsSpec(Spec):
    """So many further records of each: windows around its object, drawn at random, with at least `smallest` of each side.

    A small set lasts longer so. Captions are kept: what they say of size or place may no longer hold.
    """

    count: Annotated[int, Field(ge=0)] = 0
    smallest: Annotated[float, Field(gt=0, le=1)] = 0.8


class EncodeSpec(Spec):
    """Latents and text embeddings, computed once, here. `batch_size` images at a time, of one resolution bucket."""

    enabled: bool = True
    batch_size: Annotated[int, Field(ge=1)] = 8


class DecoderSpec(Spec):
    """Pictures are decoded in a child process, under limits per picture: memory, computing time and waiting time.

    Ordinary pictures come nowhere near them. `function` is what decodes, `module:name` with the signature of `read_image`.
    """

    isolated: bool = True
    memory_bytes: Annotated[int, Field(ge=2**26)] = 2**31
    cpu_s: Annotated[float, Field(gt=0)] = 20.0
    wall_s: Annotated[float, Field(gt=0)] = 300.0
    function: FunctionName = "bfs_model.picture.images:read_image"


class PoolSpec(Spec):
    """The actors of one model, each with so much of a GPU: at most `workers`.

    Null: as many as the GPUs hold, of which there are at first as many as of every other such model; without a GPU, half of the CPUs.
    """

    workers: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[float, Field(ge=0)] = 0.0


class PoolsSpec(Spec):
    """One pool of actors per model."""

    sam2: PoolSpec = PoolSpec()
    blip2: PoolSpec = PoolSpec()
    objectclear: PoolSpec = PoolSpec()
    vitmatte: PoolSpec = PoolSpec()
    clip: PoolSpec = PoolSpec()
    flux_shadow: PoolSpec = PoolSpec()


class ExecutionSpec(Spec):
    """How a build is spread over the cluster. Nothing here changes a byte of the result, so it is not part of its identity.

    `store_mib`: how much the stages may have waiting for each other in Ray's object store; null leaves it to Ray, which takes a half.
    """

    decoder: DecoderSpec = DecoderSpec()
    store_mib: Annotated[int, Field(ge=1)] | None = None
    cpu_workers: Annotated[int, Field(ge=1)] | None = None
    encoders: Annotated[int, Field(ge=1)] | None = None
    gpus_per_encoder: Annotated[float, Field(ge=0)] = 0.0
    models: PoolsSpec = PoolsSpec()


# Parts that recipes did not have at first. Left at their defaults they change nothing, so they do not take part in what a
# dataset is known by: one that was built before them is still the same.
_LATER = ("mask", "caption", "filter", "models", "mirror", "crops", "layers", "curation", "memory")


class DataSpec(Spec):
    """A training set: stage 1 {F̂, B, M̂, Ĉ} with simulated shadows, or stage 2 {C, B, M, S} as photographed.

    `mirror`: each record also as its mirror image, for captions that name no left and right; `crops` are taken of both.
    `memory`: `nf4` holds the base of the shadow network in four bits (`bfs_model.weight.memory`), for a card of 24 GB; shadows then
    differ a little.
    """

    stage: Literal[1, 2]
    seed: int = 7
    # (height, width) of the images; each record goes to the one nearest to its aspect.
    buckets: Annotated[tuple[Bucket, ...], Field(min_length=1)]
    loosen_box: Fraction = 0.1
    default_caption: str = ""
    records_per_shard: Annotated[int, Field(ge=1)] = 32
    max_records: Annotated[int, Field(ge=1)] | None = None
    mirror: bool = False
    crops: CropsSpec = CropsSpec()
    max_reject_rate: Fraction = 0.05
    checks: CheckSpec = CheckSpec()
    mask: MaskSpec = MaskSpec()
    caption: CaptionSpec = CaptionSpec()
    background: BackgroundSpec = BackgroundSpec()
    matting: MattingSpec = MattingSpec()
    filter: FilterSpec = FilterSpec()
    models: ModelsSpec = ModelsSpec()
    shadow: ShadowSpec = ShadowSpec()
    memory: Literal["none", "nf4"] = "none"
    layers: LayersSpec = LayersSpec()
    curation: CurationSpec = CurationSpec()
    encode: EncodeSpec = EncodeSpec()
    execution: ExecutionSpec = ExecutionSpec()

    @model_validator(mode="after")
    def _buckets_are_even(self) -> "DataSpec":
        # Latents are packed in 2×2 patches behind a VAE that shrinks at least 4×.
        if any(side % 8 for bucket in self.buckets for side in bucket):
            raise ValueError("has a side that is not a multiple of 8; round it")
        return self

    @model_validator(mode="after")
    def _copies_can_be_found(self) -> "DataSpec":
        if self.curation.box_overlap < 1 and (self.checks.duplicate_bits or 0) > 7:
            raise ValueError("checks.duplicate_bits is more than 7, which cannot be looked for with curation.box_overlap below 1")
        return self

    @model_validator(mode="after")
    def _has_what_to_hold(self) -> "DataSpec":
        if self.memory != "none" and self.shadow.kind != "flux_shadow":
            rule = f"is for the shadow network, and shadow.kind={self.shadow.kind} loads none"
            raise BadInput("memory", self.memory, rule, "leave it out, or set shadow.kind=flux_shadow")
        return self

    def identity(self) -> dict[str, Any]:
        """The resolved specification without `execution` and `places`: what belongs into the body of the manifest."""
        resolved = self.resolved()
        kept = {key: value for key, value in resolved["spec"].items() if key != "execution" and not self._is_later(key)}
        resolved["spec"] = _without_places(kept)
        return resolved

    def places(self) -> dict[str, dict[str, Any]]:
        """What `identity` leaves out: the folders of models and of other sets. With both, the recipe loads from a manifest again."""
        values = {key: value for key, value in self.model_dump(mode="json").items() if not self._is_later(key)}
        return {part: {k: v for k, v in values[part].items() if is_place(k, v)} for part, is_place in _PLACES.items() if part in values}

    def content(self) -> dict[str, Any]:
        """What decides the bytes of a shard as it is collected. A tolerance for rejects, where to stop, what is left out later do not."""
        ignored = {"execution", "max_reject_rate", "max_records", "curation"}
        kept = {key: value for key, value in self.model_dump(mode="json").items() if key not in ignored and not self._is_later(key)}
        return _without_places(kept)

    def decisions(self) -> dict[str, Any]:
        """What decides a whole set, beside its rows, its models and the sets that it is kept apart from, which are known by content."""
        return self.identity()["spec"] | {"execution": None}

    def _is_later(self, key: str) -> bool:
        return key in _LATER and getattr(self, key) == type(self).model_fields[key].default


_PLACES: dict[str, Callable[[str, Any], bool]] = {
    "models": lambda key, value: isinstance(value, str),
    "curation": lambda key, value: key == "apart_from",
}


def _without_places(values: dict[str, Any]) -> dict[str, Any]:
    """Without the folders of models and of other sets: the same ones elsewhere are the same, and their contents are compared."""
    return {
        part: {key: value for key, value in own.items() if not _PLACES[part](key, value)} if part in _PLACES else own
        for part, own in values.items()
    }
