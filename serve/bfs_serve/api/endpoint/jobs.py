"""`/v1/jobs`: list, read, follow, fetch, cancel, forget."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from bfs_platform.client.views import JobPage, JobResult, JobView, Status
from bfs_serve.api.answer import responses, sse
from bfs_serve.api.answer.view import view_of
from bfs_serve.api.request.caller import Caller, TheService
from bfs_serve.api.request.negotiation import Format, choose_format
from bfs_serve.problems import Problem, ProblemError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="32 hexadecimal digits", pattern="^[0-9a-f]{32}$")]
_EVENTS = "queued, started, progress, preview, then succeeded, failed or canceled."


@router.get("", summary="List jobs, newest first", responses={200: {"model": JobPage}, **responses.PROBLEM_RESPONSES})
async def listed(
    service: TheService,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(description="from the Link header of the last page", pattern="^[0-9a-f]{1,15}$")] = None,
    status: Status | None = None,
) -> Response:
    page = await service.store.page(caller, status, limit, cursor)
    body: dict[str, object] = {"jobs": [view_of(job) for job in page.jobs]}
    headers = {"Cache-Control": "no-store"}
    if page.cursor is not None:
        wish = f"&status={status}" if status else ""
        body["next"] = f"/v1/jobs?limit={limit}&cursor={page.cursor}{wish}"
        headers["Link"] = f'<{body["next"]}>; rel="next"'
    return JSONResponse(body, headers=headers)


@router.get("/{job_id}", summary="Look at a job", responses={200: {"model": JobView}, **responses.PROBLEM_RESPONSES})
async def read(job_id: JobId, service: TheService, caller: Caller) -> Response:
    return responses.of_view(await service.job(caller, job_id))


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": _EVENTS},
        204: {"description": "The final event was seen already (`Last-Event-ID`); do not reconnect."},
        **responses.PROBLEM_RESPONSES,
    },
)
async def follow(job_id: JobId, service: TheService, caller: Caller, last_event_id: Annotated[str | None, Header()] = None) -> Response:
    job = await service.job(caller, job_id)
    after = sse.last_event_id(last_event_id)
    if job.is_finished and after >= job.num_events:
        return Response(status_code=204)
    events = sse.stream(service.store.events(caller, job_id, after), job_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.get(
    "/{job_id}/result",
    summary="Fetch the result",
    responses={200: {"model": JobResult, "content": responses.FILES}, **responses.PROBLEM_RESPONSES},
)
async def fetch(
    job_id: JobId,
    request: Request,
    service: TheService,
    caller: Caller,
    format: Annotated[Format | None, Query(description="wins over Accept")] = None,
    candidate: Annotated[int, Query(ge=0, le=7, description="which of the candidates, as a file")] = 0,
) -> Response:
    kind = choose_format(request.headers.getlist("accept"), format)
    return await responses.of_result(service, await service.job(caller, job_id), kind, candidate)


@router.delete(
    "/{job_id}/result",
    summary="Forget a finished job and its pictures",
    status_code=204,
    responses={204: {}, **responses.PROBLEM_RESPONSES},
)
async def discard(job_id: JobId, service: TheService, caller: Caller) -> Response:
    if not await service.store.discard(caller, job_id):
        job = await service.store.get(caller, job_id)
        if job is not None and not job.is_finished:
            raise ProblemError(Problem("not-finished", "The job is not finished; cancel it by DELETE of the job itself."))
    return Response(status_code=204)


@router.delete(
    "/{job_id}",
    summary="Cancel a job",
    status_code=202,
    responses={
        202: {"model": JobView, "description": "Canceled."},
        204: {"description": "It was finished already, and stays as it is."},
        **responses.PROBLEM_RESPONSES,
    },
)
async def cancel(job_id: JobId, service: TheService, caller: Caller) -> Response:
    canceled = await service.store.cancel(caller, job_id)
    job = await service.job(caller, job_id)
    return responses.of_view(job, 202) if canceled else Response(status_code=204)
