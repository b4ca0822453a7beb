"""From an HTTP request, multipart or JSON, to a checked `Order`. Whatever is wrong becomes one problem document."""

import asyncio
import io
import re
import secrets
from typing import Any

from PIL import Image
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bfs_model.errors import BadInput
from bfs_model.images import FORMATS, read_image
from bfs_serve import problems
from bfs_serve.orders import Order
from bfs_serve.problems import Problem, ProblemError
from bfs_serve.schemas import LayerBody, LayerFields

MAX_IMAGE_BYTES = 16 * 2**20
MAX_PIXELS = 4096 * 4096
_IMAGES = ("background", "reference")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")


async def read_order(request: Request) -> tuple[Order, bool]:
    """Read, validate and decode a request to `POST /v1/layers`.

    Returns the order, its seed drawn when none is given, and whether one was given. Raises `ProblemError`.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        body = await request.body()
        fields, background, reference = await asyncio.to_thread(_from_json, body)
    elif content_type == "multipart/form-data":
        fields, background, reference = await _from_form(request)
    else:
        remedy = "Send multipart/form-data or application/json."
        raise ProblemError(Problem("unsupported-media-type", remedy, headers={"Accept": "multipart/form-data, application/json"}))
    if not fields.prompt and reference is None:
        raise _refused("invalid", "prompt", "<0 characters>", "is empty", "describe the object in words, or show it in a reference")
    width, height = await asyncio.to_thread(check_image, background, "background")
    if reference is not None:
        await asyncio.to_thread(check_image, reference, "reference")
    try:
        box = fields.box.within(width, height)
    except BadInput as error:
        raise ProblemError(problems.of_bad_input(error)) from None
    seed = secrets.randbits(32) if fields.seed is None else fields.seed
    corners = (box.x0, box.y0, box.x1, box.y1)
    order = Order(background, width, height, corners, fields.prompt, seed, fields.steps, reference, fields.split_effects)
    return order, fields.seed is not None


def check_image(data: bytes, key: str) -> tuple[int, int]:
    """Decode an uploaded image once, to be sure that it can be. Returns its upright (width, height). Raises `ProblemError`."""
    shown = f"<{len(data)} bytes>"
    if len(data) > MAX_IMAGE_BYTES:
        raise _too_many_bytes(key, len(data))
    if not data.startswith(_SIGNATURES):
        raise _refused("unsupported-media-type", key, shown, "is not a PNG, JPEG or WebP picture", "save it as one of these")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            num_pixels = header.width * header.height
    except Exception:  # decoders raise anything on hostile bytes; read_image says what is wrong
        num_pixels = 0
    if num_pixels > MAX_PIXELS:
        raise _refused("too-large", key, shown, f"has {num_pixels:,} pixels, more than {MAX_PIXELS:,}", "scale the picture down")
    try:
        image = read_image(data, key=key, max_pixels=MAX_PIXELS, max_bytes=MAX_IMAGE_BYTES)
    except BadInput as error:
        raise ProblemError(problems.of_bad_input(error)) from None
    return image.width, image.height


def _from_json(body: bytes) -> tuple[LayerFields, bytes, bytes | None]:
    try:
        parsed = LayerBody.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise ProblemError(Problem("malformed", "The body is not valid JSON in UTF-8.")) from None
        raise ProblemError(problems.of_validation(found)) from None
    return parsed, parsed.background, parsed.reference


async def _from_form(request: Request) -> tuple[LayerFields, bytes, bytes | None]:
    try:
        async with request.form(max_files=2, max_fields=8, max_part_size=64 * 1024) as form:
            images = {key: await _file(form, key) for key in _IMAGES}
            texts = _texts(form)
    except HTTPException as error:
        raise ProblemError(Problem("malformed", f"The multipart body cannot be read: {error.detail}")) from None
    except (UnicodeError, LookupError):  # a charset of the sender's own
        raise ProblemError(Problem("malformed", "The multipart body cannot be read: its text is not UTF-8.")) from None
    try:
        fields = LayerFields.model_validate(texts)
    except ValidationError as error:
        raise ProblemError(problems.of_validation(error.errors(include_url=False, include_input=False))) from None
    if images["background"] is None:
        raise _refused("invalid", "background", "nothing", "is missing", "send the picture as a file")
    return fields, images["background"], images["reference"]


async def _file(form: FormData, key: str) -> bytes | None:
    parts = form.getlist(key)
    if not parts:
        return None
    if len(parts) > 1 or not isinstance(parts[0], UploadFile):
        raise _refused("invalid", key, f"<{len(parts)} parts>", "is not one file", "send it once, with a file name")
    if (parts[0].size or 0) > MAX_IMAGE_BYTES:
        raise _too_many_bytes(key, parts[0].size or 0)
    return await parts[0].read()


def _texts(form: FormData) -> dict[str, Any]:
    """Form fields are text: turn what should be numbers into numbers, and leave the judgement to the model."""
    texts: dict[str, Any] = {}
    for key, value in form.multi_items():
        if key in _IMAGES:
            continue
        if key in texts or not isinstance(value, str):
            raise _refused("invalid", key[:40], "<part>", "is not one text field", "send it once, without a file name")
        texts[key] = _typed(key, value)
    return texts


def _typed(key: str, value: str) -> Any:
    if key == "box":
        numbers = [_whole(part.strip()) for part in value.split(",")]
        return numbers if all(type(n) is int for n in numbers) else value
    if key in ("seed", "steps"):
        return _whole(value.strip())
    if key == "split_effects" and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    return value


def _whole(text: str) -> int | str:
    """The number that a text is, or the text."""
    return int(text) if _WHOLE.fullmatch(text) else text


def _too_many_bytes(key: str, size: int) -> ProblemError:
    rule = f"is larger than {MAX_IMAGE_BYTES // 2**20} MiB"
    return _refused("too-large", key, f"<{size} bytes>", rule, "scale the picture down or save it as JPEG")


def _refused(slug: str, key: str, value: object, rule: str, remedy: str) -> ProblemError:
    return ProblemError(problems.of_bad_input(BadInput(key, value, rule, remedy), slug))
