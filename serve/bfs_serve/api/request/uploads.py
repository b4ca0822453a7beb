"""From an HTTP request, multipart or JSON, to checked fields and uploaded bytes. Whatever is wrong becomes one problem document."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bfs_model.errors import BadInput
from bfs_serve import problems
from bfs_serve.api.pictures import MAX_IMAGE_BYTES, too_many_bytes
from bfs_serve.problems import Problem, ProblemError

Fields = TypeVar("Fields", bound=BaseModel)

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,2})?")
_BOX = r"^ *-?[0-9]{1,9}( *, *-?[0-9]{1,9}){3} *$"
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_MAX_TEXT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Form(Generic[Fields]):
    """How one endpoint is asked: its fields, the same with pictures for JSON, and the pictures that forms send as files.

    `lists`: fields that hold JSON in a form.
    """

    fields: type[Fields]
    body: type[BaseModel]
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return self.needed + self.optional


@dataclass(frozen=True, slots=True, eq=False)
class Upload(Generic[Fields]):
    """What was sent: fields, and the bytes of each file by its name."""

    fields: Fields
    files: dict[str, bytes] = field(default_factory=dict)


async def read(request: Request, form: Form[Fields]) -> Upload[Fields]:
    """Read and validate a request. Raises `ProblemError`."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        body = await request.body()
        return await asyncio.to_thread(_from_json, body, form)
    if content_type == "multipart/form-data":
        return await _from_form(request, form)
    remedy = "Send multipart/form-data or application/json."
    raise ProblemError(Problem("unsupported-media-type", remedy, headers={"Accept": "multipart/form-data, application/json"}))


def _from_json(body: bytes, form: Form[Fields]) -> Upload[Fields]:
    try:
        parsed = form.body.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise ProblemError(Problem("malformed", "The body is not valid JSON in UTF-8.")) from None
        raise ProblemError(problems.of_validation(found)) from None
    files = {key: getattr(parsed, key) for key in form.files if getattr(parsed, key) is not None}
    for key, data in files.items():
        if len(data) > MAX_IMAGE_BYTES:
            raise too_many_bytes(key, len(data))
    return Upload(parsed, files)  # type: ignore[arg-type]  # a body has all that its fields have


async def _from_form(request: Request, form: Form[Fields]) -> Upload[Fields]:
    try:
        async with request.form(max_files=len(form.files), max_fields=20, max_part_size=_MAX_TEXT) as sent:
            files = {key: data for key in form.files if (data := await _file(sent, key)) is not None}
            texts = _texts(sent, form)
    except HTTPException as error:
        raise ProblemError(Problem("malformed", f"The multipart body cannot be read: {error.detail}")) from None
    except (UnicodeError, LookupError):  # a charset of the sender's own
        raise ProblemError(Problem("malformed", "The multipart body cannot be read: its text is not UTF-8.")) from None
    try:
        fields = form.fields.model_validate(texts)
    except ValidationError as error:
        raise ProblemError(problems.of_validation(error.errors(include_url=False, include_input=False))) from None
    for key in form.needed:
        if key not in files:
            raise refused(key, "nothing", "is missing", "send the picture as a file")
    return Upload(fields, files)


async def _file(form: FormData, key: str) -> bytes | None:
    parts = [part for part in form.getlist(key) if part != ""]  # an empty field of a form says nothing
    if not parts:
        return None
    if len(parts) > 1 or not isinstance(parts[0], UploadFile):
        raise refused(key, f"<{len(parts)} parts>", "is not one file", "send it once, with a file name")
    if (parts[0].size or 0) > MAX_IMAGE_BYTES:
        raise too_many_bytes(key, parts[0].size or 0)
    return await parts[0].read()


def _texts(form: FormData, shape: Form[Any]) -> dict[str, Any]:
    """Form fields are text: turn what should be numbers into numbers, and leave the judgement to the model of the fields."""
    texts: dict[str, Any] = {}
    for key, value in form.multi_items():
        if key in shape.files:
            continue
        if key in texts or not isinstance(value, str):
            raise refused(key[:40], "<part>", "is not one text field", "send it once, without a file name")
        # A field that a form leaves empty is one that was left out; only a prompt may be empty.
        if value.strip() or key == "prompt":
            texts[key] = _typed(key, value, shape)
    return texts


def _typed(key: str, value: str, shape: Form[Any]) -> Any:
    if key in shape.lists:
        try:
            return TypeAdapter(Any).validate_json(value)
        except ValidationError:
            raise refused(key, f"<{len(value)} characters>", "is not JSON", "write it as in a JSON request") from None
    if key == "box":
        numbers = [_whole(part.strip()) for part in value.split(",")]
        return numbers if all(type(n) is int for n in numbers) else value
    annotation = str(shape.fields.model_fields[key].annotation) if key in shape.fields.model_fields else ""
    if "bool" in annotation and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    if "float" in annotation and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return _whole(value.strip()) if "int" in annotation else value


def _whole(text: str) -> int | str:
    """The number that a text is, or the text."""
    return int(text) if _WHOLE.fullmatch(text) else text


def refused(key: str, value: object, rule: str, remedy: str, slug: str = "invalid") -> ProblemError:
    """An error for one key of a request."""
    return ProblemError(problems.of_bad_input(BadInput(key, value, rule, remedy), slug))


def request_body(form: Form[Any]) -> dict[str, Any]:
    """Both ways to ask, for the OpenAPI document."""
    schema = form.fields.model_json_schema(ref_template="#/components/schemas/{model}")
    properties: dict[str, Any] = {key: _without_null(value) for key, value in schema["properties"].items()}
    schema["properties"] = properties
    if "box" in properties:
        properties["box"] = {
            "type": "string",
            "pattern": _BOX,
            "description": "x0,y0,x1,y1 in pixels of the background.",
            "examples": ["40,60,200,220"],
        }
    for key in form.lists:
        properties[key] = {"type": "string", "contentMediaType": "application/json", "description": "As in a JSON request."}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties |= dict.fromkeys(form.files, file)
    schema["required"] = [*form.needed, *schema.get("required", [])]
    schema.pop("$defs", None)
    body = form.body.model_json_schema(ref_template="#/components/schemas/{model}")
    body.pop("$defs", None)
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}, "application/json": {"schema": body}}}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A field of a form is text or left out."""
    if "anyOf" not in schema:
        return schema
    kept = [one for one in schema["anyOf"] if one != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return rest | (kept[0] if len(kept) == 1 else {"anyOf": kept})


def definitions(forms: Sequence[Form[Any]]) -> dict[str, Any]:
    """The schemas that bodies refer to, for `components` of the OpenAPI document."""
    found: dict[str, Any] = {}
    for form in forms:
        for model in (form.fields, form.body):
            found |= model.model_json_schema(ref_template="#/components/schemas/{model}").get("$defs", {})
    return found
