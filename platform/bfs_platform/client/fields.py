"""What can be asked of the service, as pydantic models: the published schema, the service's check and the clients' are one.

Pictures are base64 in JSON and files in multipart forms, so the models come in two: `…Fields` without pictures, `…Body` with.
"""

import base64
import binascii
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box

MAX_PROMPT_CHARS = 1000
MAX_STEPS = 200
MAX_CANDIDATES = 8
MAX_LAYERS = 50
MAX_EDITS = 200
MAX_SEED = 2**32 - 1

_BOX_REMEDY = "give x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1"
_BOX_KEYS = ({"x0", "y0", "x1", "y1"}, {"x", "y", "width", "height"})
_MAX_CORNER = 2**31
_CORNER = {"type": "integer", "minimum": -_MAX_CORNER, "maximum": _MAX_CORNER}
_LENGTH = _CORNER | {"minimum": 1}


def _object_schema(**numbers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": numbers, "required": list(numbers), "additionalProperties": False}


_BOX_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _CORNER, "minItems": 4, "maxItems": 4},
        _object_schema(x0=_CORNER, y0=_CORNER, x1=_CORNER, y1=_CORNER),
        _object_schema(x=_CORNER, y=_CORNER, width=_LENGTH, height=_LENGTH),
    ],
    "description": "Where the object goes, in pixels of the background; half-open, origin top left.",
    "examples": [[40, 60, 200, 220]],
}


def whole(value: Any) -> Any:
    """`5` where `5.0` is given, else what is given: to JSON Schema, and in JavaScript, both are the same integer."""
    return int(value) if type(value) is float and value.is_integer() else value


def parse_box(value: Any) -> Box:
    """A box from four whole numbers or an object of four. Raises `BadInput`."""
    if isinstance(value, Box):
        return value
    if isinstance(value, dict) and set(value) not in _BOX_KEYS:
        raise BadInput("box", sorted(value), "is not an object with x0, y0, x1, y1 or x, y, width, height", _BOX_REMEDY)
    given = [*value.values()] if isinstance(value, dict) else value
    numbers: list[Any] = [whole(n) for n in given] if isinstance(given, list) else [None]
    if any(type(n) is not int for n in numbers):
        raise BadInput("box", ascii(value), "is not four whole numbers", _BOX_REMEDY)
    if any(abs(n) > _MAX_CORNER for n in numbers):
        raise BadInput("box", "<huge numbers>", "lies outside of any picture", _BOX_REMEDY)
    return Box.of(dict(zip(value, numbers, strict=True)) if isinstance(value, dict) else numbers)


def parse_prompt(value: Any) -> str:
    """A prompt as one line of text, empty where a reference shows all. Tabs and line breaks become spaces; other control
    characters are refused.
    """
    if not isinstance(value, str):
        raise BadInput("prompt", type(value).__name__, "is not text", "describe the object in words")
    text = value.translate({9: " ", 10: " ", 13: " "})
    shown = f"<{len(value)} characters>"  # the prompt itself is never repeated
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadInput("prompt", shown, "holds control characters or half a surrogate pair", "send plain text in UTF-8")
    if len(text) > MAX_PROMPT_CHARS:
        raise BadInput("prompt", shown, f"is longer than {MAX_PROMPT_CHARS} characters", "shorten it")
    return text.strip()


def parse_base64(value: Any) -> bytes:
    """The bytes of an image given as base64 or as a base64 `data:` URI. A URL is never fetched. Raises `BadInput`."""
    remedy = "send the file's bytes in base64, plain or as a data: URI; no URL is ever fetched"
    if not isinstance(value, str):
        raise BadInput("image", type(value).__name__, "is not base64 text", remedy)
    text = value
    if value[:5].lower() == "data:":
        header, _, text = value.partition(",")
        if not header.lower().endswith(";base64"):
            raise BadInput("image", header[:60], "is not a base64 data: URI", remedy)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("image", f"<{len(value)} characters>", "is not base64", remedy) from None
    if not data:
        raise BadInput("image", f"<{len(value)} characters>", "is empty", remedy)
    return data


_IMAGE_SCHEMA = {"type": "string", "contentEncoding": "base64", "description": "PNG, JPEG or WebP, as base64 or a data: URI."}
_DOCUMENT_SCHEMA = _IMAGE_SCHEMA | {
    "description": "A .zip, .ora or .psd that BFS wrote, or a picture, which becomes a document of one layer; in base64."
}
_PROMPT_SCHEMA = {
    "type": "string",
    "maxLength": MAX_PROMPT_CHARS,
    "pattern": r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$",
    "description": "What to draw; may be empty beside a reference.",
}
ImageBytes = Annotated[bytes, BeforeValidator(parse_base64), WithJsonSchema(_IMAGE_SCHEMA)]
BoxField = Annotated[Box, BeforeValidator(parse_box), WithJsonSchema(_BOX_SCHEMA)]
Prompt = Annotated[str, BeforeValidator(parse_prompt), WithJsonSchema(_PROMPT_SCHEMA)]


_STRICT = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, frozen=True)
_MODEL = "One of those that GET /v1/models lists; the first of them where none is named."
_WHOLE = BeforeValidator(whole)
Seed = Annotated[int, Field(ge=0, le=MAX_SEED), _WHOLE]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS), _WHOLE]
Guidance = Annotated[float, Field(ge=0, le=20, description="How much the prompt counts; 1 is the model by itself, in half the time.")]
Name = Annotated[str, Field(min_length=1, max_length=240)]  # `bfs_model.document.scene_layer.NAME_ROOM`
BlendMode = Literal["normal", "multiply", "screen"]  # `bfs_model.picture.blending.BLEND_MODES`


class Fields(BaseModel):
    """What all requests to a model have."""

    model_config = _STRICT

    model: Annotated[str, Field(min_length=1, max_length=500, description=_MODEL)] | None = None
    seed: Seed | None = Field(default=None, description="Drawn at random where none is given; every answer says which it was.")
    steps: Steps | None = None
    true_cfg_scale: Guidance | None = None
    step_cache: Literal["none", "first_block", "taylorseer"] = "none"
    split_effects: bool = Field(default=False, description="Answer with object and effects (shadow, reflection) as two layers as well.")


class LayerFields(Fields):
    """`POST /v1/layers`, besides its pictures."""

    box: BoxField
    prompt: Prompt
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES, description="Layers to draw, with the seeds seed, seed + 1, …"), _WHOLE] = 1


class LayerBody(LayerFields):
    """`POST /v1/layers` as JSON."""

    background: ImageBytes
    reference: ImageBytes | None = None


class ExtractionFields(Fields):
    """`POST /v1/extractions`, besides its pictures."""

    box: BoxField | None = Field(default=None, description="Where the object is; found by comparing the two pictures where none is given.")
    prompt: Prompt = ""
    joint_guidance: Annotated[float, Field(ge=0, le=10)] = 0.0
    refit: bool = Field(default=False, description="Make the layer explain the picture exactly wherever it shows anything.")


class ExtractionBody(ExtractionFields):
    """`POST /v1/extractions` as JSON."""

    composite: ImageBytes
    background: ImageBytes


class SceneLayerFields(BaseModel):
    """One layer of a document, from back to front."""

    model_config = _STRICT

    name: Name | None = Field(default=None, description="Called by its prompt where it has none.")
    box: BoxField
    prompt: Prompt = ""
    seed: Seed | None = None
    steps: Steps | None = None
    opacity: Annotated[float, Field(ge=0, le=1)] = 1.0
    blend_mode: BlendMode = "normal"
    visible: bool = True
    split_effects: bool = False


class SceneLayerBody(SceneLayerFields):
    """One layer of a document, as JSON."""

    reference: ImageBytes | None = None


class DocumentFields(BaseModel):
    """`POST /v1/documents`, besides its pictures: several layers, each drawn onto the picture of those below it."""

    model_config = _STRICT

    model: Annotated[str, Field(min_length=1, max_length=500, description=_MODEL)] | None = None
    layers: Annotated[list[SceneLayerFields], Field(min_length=1, max_length=MAX_LAYERS)]
    redraw: Name | None = Field(default=None, description="Draw only this layer anew; `document` holds the others as they are.")


class DocumentBody(DocumentFields):
    """`POST /v1/documents` as JSON."""

    background: ImageBytes
    document: ImageBytes | None = None
    layers: Annotated[list[SceneLayerBody], Field(min_length=1, max_length=MAX_LAYERS)]  # type: ignore[assignment]


class EditFields(BaseModel):
    """What to change of one layer of a document, found by its id or its name; what is left out stays as it is."""

    model_config = _STRICT

    layer: Name
    name: Name | None = None
    x: Annotated[int, Field(ge=-(2**20), le=2**20), _WHOLE] | None = None
    y: Annotated[int, Field(ge=-(2**20), le=2**20), _WHOLE] | None = None
    scale: Annotated[float, Field(gt=0, le=16, description="About the layer's centre.")] | None = None
    opacity: Annotated[float, Field(ge=0, le=1)] | None = None
    blend_mode: BlendMode | None = None
    visible: bool | None = None
    split_effects: bool = Field(default=False, description="Two layers in its place, in a group: object and effects (shadow, reflection).")
    remove: bool = False


class ExportFields(BaseModel):
    """`POST /v1/exports`, besides the document: edits, one after the other, and the order of its layers, from back to front."""

    model_config = _STRICT

    edits: Annotated[list[EditFields], Field(max_length=MAX_EDITS)] = []
    order: Annotated[list[Name], Field(min_length=1, max_length=MAX_EDITS)] | None = None


class ExportBody(ExportFields):
    """`POST /v1/exports` as JSON."""

    document: Annotated[bytes, BeforeValidator(parse_base64), WithJsonSchema(_DOCUMENT_SCHEMA)]
