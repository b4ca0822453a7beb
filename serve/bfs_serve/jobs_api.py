"""`/v1/jobs/{id}`: look, follow, fetch, cancel."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from bfs_serve import answers, sse
from bfs_serve.caller import Caller, TheBackend
from bfs_serve.coordinator import no_such_job
from bfs_serve.negotiation import choose_format
from bfs_serve.problems import ProblemError
from bfs_serve.schemas import JobView, LayerResult

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="32 hexadecimal digits")]


@router.get("/{job_id}", summary="Look at a job", responses={200: {"model": JobView}, **answers.PROBLEM_RESPONSES})
async def look(job_id: JobId, backend: TheBackend, caller: Caller) -> Response:
    view = await backend.look(caller, job_id)
    if view is None:
        raise ProblemError(no_such_job())
    return answers.of_view(view)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "queued, started, progress, then succeeded, failed or canceled."},
        204: {"description": "The final event was seen already (`Last-Event-ID`); do not reconnect."},
        **answers.PROBLEM_RESPONSES,
    },
)
async def follow(job_id: JobId, backend: TheBackend, caller: Caller, last_event_id: Annotated[str | None, Header()] = None) -> Response:
    view = await backend.look(caller, job_id)
    if view is None:
        raise ProblemError(no_such_job())
    after = sse.last_event_id(last_event_id)
    if "finished_at" in view and after >= view["num_events"]:
        return Response(status_code=204)
    events = sse.stream(backend.events(caller, job_id, after))
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.get(
    "/{job_id}/result",
    summary="Fetch the result",
    responses={200: {"model": LayerResult, "content": answers.FILES}, **answers.PROBLEM_RESPONSES},
)
async def fetch(
    job_id: JobId,
    request: Request,
    backend: TheBackend,
    caller: Caller,
    format: Annotated[str | None, Query(description="json, png, zip, psd or ora; wins over Accept")] = None,
) -> Response:
    kind = choose_format(request.headers.get("accept"), format)
    return await answers.of_result(await backend.result(caller, job_id), kind)


@router.delete(
    "/{job_id}",
    summary="Cancel a job, or forget a finished one",
    status_code=202,
    responses={
        202: {"model": JobView, "description": "Canceled."},
        204: {"description": "It was finished; now it is forgotten."},
        **answers.PROBLEM_RESPONSES,
    },
)
async def cancel(job_id: JobId, backend: TheBackend, caller: Caller) -> Response:
    if await backend.look(caller, job_id) is None:
        raise ProblemError(no_such_job())
    view = await backend.cancel(caller, job_id)
    return Response(status_code=204) if view is None else answers.of_view(view, 202)
