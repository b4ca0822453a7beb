"""Turning a job into an HTTP answer."""

import asyncio
import base64
from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import JSONResponse

from bfs_serve.api.answer.view import problem_of, seed_of, view_of
from bfs_serve.api.files import SUFFIXES
from bfs_serve.api.request.negotiation import MEDIA_TYPES
from bfs_serve.api.service import Service
from bfs_serve.job.engine import label
from bfs_serve.job.results import Result, result_of
from bfs_serve.problems import Problem, ProblemError
from bfs_serve.store.blobs import BlobLost, Blobs
from bfs_serve.store.records import CANCELED, Job

# How `GET …/result` and a blocking POST are described in the OpenAPI document.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is at fault.", "content": {"application/problem+json": {}}},
    "5XX": {"description": "The service is at fault, or busy.", "content": {"application/problem+json": {}}},
}
FILES = {media: {"schema": {"type": "string", "contentMediaType": media}} for name, media in MEDIA_TYPES.items() if name != "json"}


async def of_result(service: Service, job: Job, kind: str, candidate: int = 0) -> Response:
    """The result in the format `kind` (a key of `MEDIA_TYPES`). Raises `ProblemError` when there is none."""
    result = _result(job)
    if result.pictures and candidate >= len(result.pictures):
        raise ProblemError(Problem("invalid", f"candidate={candidate} is not drawn; there are {len(result.pictures)}, counted from 0."))
    headers = _headers(job) | {"Vary": "Accept"}
    if result.pictures:
        headers["X-BFS-Seed"] = str(result.pictures[candidate].seed)
    try:
        if kind == "json":
            return await asyncio.to_thread(lambda: JSONResponse(view_of(job) | _in_base64(service.blobs, result), headers=headers))
        content = await asyncio.to_thread(service.files.render, job, kind, candidate)
    except BlobLost:
        raise ProblemError(Problem("interrupted", "A picture of the result was lost; draw it again.", retry_after_s=1)) from None
    headers["Content-Disposition"] = f'attachment; filename="bfs-{job.id[:8]}{SUFFIXES[kind]}"'
    return Response(content, media_type=MEDIA_TYPES[kind], headers=headers)


def of_view(job: Job, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A job's state as JSON."""
    return JSONResponse(view_of(job), status, _headers(job) | (headers or {}))


def _result(job: Job) -> Result:
    """The result, or why there is none. A final failure is the job's own answer: asking again changes nothing."""
    if not job.is_finished:
        raise ProblemError(Problem("not-finished", f"The job is {job.status}.", retry_after_s=1))
    if job.status == CANCELED:
        raise ProblemError(Problem("canceled", "The job was canceled, so there is no result."))
    problem = problem_of(job)
    if problem is not None:
        final = "" if problem.status < 500 else " Send the request again to draw it anew."
        status = problem.status if problem.status < 500 else 422
        raise ProblemError(Problem(problem.slug, problem.detail + final, problem.errors, status_code=status))
    return result_of(job)


def _headers(job: Job) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    seed = seed_of(job)
    if seed is not None:
        headers["X-BFS-Seed"] = str(seed)
    if job.version:  # percent-encoded where it is not plain ASCII
        headers["X-BFS-Model"] = quote(label(job.model, job.version), safe="".join(chr(c) for c in range(32, 127) if chr(c) != "%"))
    return headers


def _in_base64(blobs: Blobs, result: Result) -> dict[str, Any]:
    @cache
    def encoded(blob: str) -> str:
        return base64.b64encode(blobs.get(blob)).decode()

    shown: dict[str, Any] = {}
    if result.pictures:
        candidates = []
        for picture in result.pictures:
            images = {"layer": picture.layer, "composite": picture.composite, "object": picture.object, "effects": picture.effects}
            candidates.append({"seed": picture.seed} | {f"{name}_png": encoded(blob) for name, blob in images.items() if blob})
        shown = {key: value for key, value in candidates[0].items() if key != "seed"} | {"candidates": candidates}
    if result.document is not None:
        shown = {"document_zip": encoded(result.document), "composite_png": encoded(str(result.composite)), "layers": result.layers}
    return shown
