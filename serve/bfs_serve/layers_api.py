"""`POST /v1/layers`."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from bfs_serve import answers
from bfs_serve.backend import Backend
from bfs_serve.caller import Caller, TheBackend
from bfs_serve.negotiation import choose_format, preferred_wait_s
from bfs_serve.outlive import outliving
from bfs_serve.problems import Problem, ProblemError
from bfs_serve.schemas import JobView, LayerBody, LayerFields, LayerResult
from bfs_serve.uploads import read_order

LONGEST_WAIT_S = 300.0
_RETRY_AFTER = {"Retry-After": "1"}

router = APIRouter(tags=["layers"])


class Admission:
    """Turns requests away without looking at them for a moment after the queue was found full.

    In a storm of retries, decoding pictures only to refuse them would take the time that the accepted ones need.
    """

    def __init__(self, pause_s: float = 0.25, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s, self._clock = pause_s, clock
        self._until = 0.0
        self._problem: Problem | None = None

    def refused(self, problem: Problem) -> ProblemError:
        """Remember a refusal for want of room, and give it back as an error."""
        if problem.slug == "busy":
            self._problem, self._until = problem, self._clock() + self._pause_s
        return ProblemError(problem)

    def check(self) -> None:
        """Raises the last refusal while it is fresh."""
        if self._problem is not None and self._clock() < self._until:
            raise ProblemError(self._problem)


def _request_body() -> dict[str, Any]:
    """Both forms of the request, for the OpenAPI document."""
    json_schema = LayerBody.model_json_schema()
    form = LayerFields.model_json_schema()
    form["properties"]["box"] = {"type": "string", "description": "x0,y0,x1,y1 in pixels of the background.", "examples": ["40,60,200,220"]}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form["properties"] |= {"background": file, "reference": file}
    form["required"] = ["background", *form["required"]]
    return {"required": True, "content": {"multipart/form-data": {"schema": form}, "application/json": {"schema": json_schema}}}


@router.post(
    "/v1/layers",
    summary="Draw one foreground layer",
    status_code=202,
    responses={
        200: {"model": LayerResult, "content": answers.FILES, "description": "The result, if it came within `Prefer: wait=N`."},
        202: {"model": JobView, "description": "The job; `Location` is where to ask."},
        **answers.PROBLEM_RESPONSES,
    },
    openapi_extra={"requestBody": _request_body()},
)
async def draw_layer(
    request: Request,
    backend: TheBackend,
    caller: Caller,
    format: Annotated[str | None, Query(description="json, png, zip, psd or ora; wins over Accept")] = None,
    prefer: Annotated[list[str] | None, Header(description="`wait=N`: answer with the result if it comes within N seconds")] = None,
    idempotency_key: Annotated[str | None, Header(description="repeating a request with the same key gives the same job")] = None,
) -> Response:
    kind = choose_format(request.headers.get("accept"), format)
    request.app.state.admission.check()
    wait_s = preferred_wait_s(prefer or [], LONGEST_WAIT_S)
    _check_key(idempotency_key)
    order, explicit_seed = await read_order(request)
    submission = outliving(backend.submit(caller, order, idempotency_key, explicit_seed))
    try:
        view = await asyncio.shield(submission)
        if isinstance(view, Problem):
            raise request.app.state.admission.refused(view)
        headers = {"Location": view["links"]["self"]}
        if wait_s is not None:
            headers["Preference-Applied"] = f"wait={wait_s:g}"
            view = await backend.wait(caller, view["id"], wait_s) or view
    except asyncio.CancelledError:  # the caller hung up
        if idempotency_key is None:
            outliving(_withdraw(backend, caller, submission))
        raise
    if wait_s is not None and "finished_at" in view:
        response = await answers.of_result(await backend.result(caller, view["id"]), kind)
        response.headers.update(headers)
        return response
    return answers.of_view(view, 202, headers | _RETRY_AFTER)


async def _withdraw(backend: Backend, caller: str, submission: asyncio.Task[dict[str, Any] | Problem]) -> None:
    """Cancel a job whose id its caller never learned: nobody could fetch the result."""
    view = await submission
    if not isinstance(view, Problem):
        await backend.cancel(caller, view["id"])


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise ProblemError(Problem("invalid", "Idempotency-Key must be 1 to 128 printable ASCII characters."))
