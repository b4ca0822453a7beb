"""Turning a finished job into an HTTP answer."""

import asyncio
import base64
from typing import Any
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import JSONResponse

from bfs_serve.documents import SUFFIXES, composite_png, parts_png, render
from bfs_serve.negotiation import MEDIA_TYPES
from bfs_serve.orders import Drawing, ModelInfo, Order
from bfs_serve.problems import Problem, ProblemError

# How `GET …/result` and a blocking POST are described in the OpenAPI document.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is at fault.", "content": {"application/problem+json": {}}},
    "5XX": {"description": "The service is at fault, or busy.", "content": {"application/problem+json": {}}},
}
FILES = {media: {"schema": {"type": "string", "contentMediaType": media}} for name, media in MEDIA_TYPES.items() if name != "json"}


async def of_result(result: tuple[dict[str, Any], Order, Drawing] | Problem, kind: str) -> Response:
    """The result in the format `kind` (a key of `MEDIA_TYPES`). Raises `ProblemError` when there is none."""
    if isinstance(result, Problem):
        raise ProblemError(result)
    view, order, drawing = result
    headers = {"X-BFS-Seed": str(drawing.seed), "X-BFS-Model": _in_header(drawing.model), "Vary": "Accept", "Cache-Control": "no-store"}
    if kind == "json":
        images = await asyncio.to_thread(_in_base64, order, drawing)
        return JSONResponse(view | images, headers=headers)
    content = await asyncio.to_thread(render, kind, order, drawing)
    headers["Content-Disposition"] = f'attachment; filename="bfs-{view["id"][:8]}{SUFFIXES[kind]}"'
    return Response(content, media_type=MEDIA_TYPES[kind], headers=headers)


def of_view(view: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A job's state as JSON."""
    common = {"Cache-Control": "no-store", "X-BFS-Seed": str(view["seed"])}
    if "model" in view:
        common["X-BFS-Model"] = _in_header(ModelInfo(view["model"]["name"], view["model"]["version"]))
    return JSONResponse(view, status, common | (headers or {}))


def _in_header(model: ModelInfo) -> str:
    """A model's label as a header can hold it: percent-encoded where it is not plain ASCII."""
    return quote(model.label, safe="".join(chr(c) for c in range(32, 127) if chr(c) != "%"))


def _in_base64(order: Order, drawing: Drawing) -> dict[str, str]:
    images = {"layer_png": drawing.layer_png, "composite_png": composite_png(order, drawing)}
    if order.split_effects:
        images |= {f"{part}_png": picture for part, picture in parts_png(order, drawing).items()}
    return {name: base64.b64encode(image).decode() for name, image in images.items()}
