"""The JSON body of `POST /v1/layers` and the JSON answers, as pydantic models: the published schema and the check are one."""

import base64
import binascii
import unicodedata
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from bfs_model.boxes import Box
from bfs_model.errors import BadInput

MAX_PROMPT_CHARS = 1000
MAX_STEPS = 100
MAX_SEED = 2**32 - 1

_BOX_REMEDY = "give x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1"
_BOX_KEYS = ({"x0", "y0", "x1", "y1"}, {"x", "y", "width", "height"})
_INTEGER = {"type": "integer"}


def _object_schema(*keys: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(keys, _INTEGER), "required": list(keys), "additionalProperties": False}


_BOX_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _INTEGER, "minItems": 4, "maxItems": 4},
        _object_schema("x0", "y0", "x1", "y1"),
        _object_schema("x", "y", "width", "height"),
    ],
    "description": "Where the object goes, in pixels of the background; half-open, origin top left.",
    "examples": [[40, 60, 200, 220]],
}


_MAX_CORNER = 2**31


def parse_box(value: Any) -> Box:
    """A box from four whole numbers or an object of four. Raises `BadInput`."""
    if isinstance(value, Box):
        return value
    if isinstance(value, dict) and set(value) not in _BOX_KEYS:
        raise BadInput("box", sorted(value), "is not an object with x0, y0, x1, y1 or x, y, width, height", _BOX_REMEDY)
    numbers = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(numbers, list) or any(type(n) is not int for n in numbers):
        raise BadInput("box", ascii(value), "is not four whole numbers", _BOX_REMEDY)
    if any(abs(n) > _MAX_CORNER for n in numbers):
        raise BadInput("box", "<huge numbers>", "lies outside of any picture", _BOX_REMEDY)
    return Box.of(value)


def parse_prompt(value: Any) -> str:
    """A prompt as one line of text, empty where a reference shows all. Tabs and line breaks become spaces; other control
    characters are refused.
    """
    if not isinstance(value, str):
        raise BadInput("prompt", type(value).__name__, "is not text", "describe the object in words")
    text = value.translate({9: " ", 10: " ", 13: " "}).strip()
    shown = f"<{len(value)} characters>"  # the prompt itself is never repeated
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadInput("prompt", shown, "holds control characters or half a surrogate pair", "send plain text in UTF-8")
    if len(text) > MAX_PROMPT_CHARS:
        raise BadInput("prompt", shown, f"is longer than {MAX_PROMPT_CHARS} characters", "shorten it")
    return text


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
_PROMPT_SCHEMA = {"type": "string", "maxLength": MAX_PROMPT_CHARS, "description": "What to draw; may be empty beside a reference."}
ImageBytes = Annotated[bytes, BeforeValidator(parse_base64), WithJsonSchema(_IMAGE_SCHEMA)]
BoxField = Annotated[Box, BeforeValidator(parse_box), WithJsonSchema(_BOX_SCHEMA)]
Prompt = Annotated[str, BeforeValidator(parse_prompt), WithJsonSchema(_PROMPT_SCHEMA)]


class LayerFields(BaseModel):
    """The fields of a request besides its images."""

    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, frozen=True)

    box: BoxField
    prompt: Prompt
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    split_effects: bool = Field(default=False, description="Answer with object and effects (shadow, reflection) as two layers as well.")


class LayerBody(LayerFields):
    """A request as JSON."""

    background: ImageBytes
    reference: ImageBytes | None = None


class Progress(BaseModel):
    """Denoising steps done, of how many."""

    step: int
    steps: int


class Links(BaseModel):
    """Where the job, its events and its result are found."""

    self: str
    events: str
    result: str


class JobView(BaseModel):
    """A job as `GET /v1/jobs/{id}` shows it."""

    id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
    status: str = Field(description="queued, running, succeeded, failed or canceled")
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    expires_at: str | None = Field(default=None, description="when the result is forgotten")
    queue_position: int | None = Field(default=None, description="jobs in front of this one, while queued")
    progress: Progress | None = None
    width: int
    height: int
    box: list[int]
    prompt: str
    seed: int
    steps: int | None = None
    model: dict[str, Any] | None = None
    warnings: list[str] = []
    timings: dict[str, float] = {}
    problem: dict[str, Any] | None = Field(default=None, description="why it failed, as a problem document")
    num_events: int
    links: Links


class LayerResult(JobView):
    """A finished job with its images, each a PNG of the size of the background, in base64."""

    layer_png: str = Field(description="the RGBA layer: object, shadow and reflection")
    composite_png: str = Field(description="the layer over the untouched background")
    object_png: str | None = Field(default=None, description="with split_effects: the object alone")
    effects_png: str | None = Field(default=None, description="with split_effects: its shadow and reflection, to lie under the object")
