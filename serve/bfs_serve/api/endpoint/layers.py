"""`POST /v1/layers`, `/v1/extractions`, `/v1/documents`, `/v1/exports`: start a job, and wait for it where that is wished."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import APIRouter, Header, Query, Request, Response

from bfs_platform.client.views import JobResult, JobView
from bfs_serve.api import background
from bfs_serve.api.answer import responses
from bfs_serve.api.observed import REQUEST_ID, TRACE
from bfs_serve.api.request import forms
from bfs_serve.api.request.caller import Caller, TheService, facts_of
from bfs_serve.api.request.forms import Ordered
from bfs_serve.api.request.negotiation import Format, choose_format, preferred_wait_s
from bfs_serve.api.request.uploads import Form, Upload, read, request_body
from bfs_serve.api.service import Origin, Service
from bfs_serve.edge.body import BodyRefused
from bfs_serve.problems import Problem, ProblemError
from bfs_serve.store.records import Job
from bfs_serve.telemetry.logs import log

LONGEST_WAIT_S = 300.0
_RETRY_AFTER = {"Retry-After": "1"}

router = APIRouter(tags=["drawing"])

Prefer = Annotated[list[str] | None, Header(description="`wait=N`: answer with the result if it comes within N seconds")]
_AGAIN = "repeating a request with the same key gives the same job"
Key = Annotated[str | None, Header(description=_AGAIN, min_length=1, max_length=128, json_schema_extra={"pattern": "^[ -~]*$"})]
Wished = Annotated[Format | None, Query(description="wins over Accept")]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": JobResult, "content": responses.FILES, "description": "The result, if it came within `Prefer: wait=N`."},
    202: {"model": JobView, "description": "The job; `Location` is where to ask."},
    **responses.PROBLEM_RESPONSES,
}
ToOrder = Callable[[Service, Upload[Any]], Awaitable[Ordered]]


def _endpoint(path: str, summary: str, form: Form[Any], to_order: ToOrder) -> None:
    """Add one endpoint that takes work on."""

    @router.post(path, name=path, summary=summary, status_code=202, responses=_RESPONSES, openapi_extra={"requestBody": request_body(form)})
    async def start(
        request: Request, service: TheService, caller: Caller, format: Wished = None, prefer: Prefer = None, idempotency_key: Key = None
    ) -> Response:
        kind = choose_format(request.headers.getlist("accept"), format)
        await _check_rate(request, service, caller)
        if idempotency_key is None:  # a key may name a job that is there already
            await service.check_room(caller)
        wait_s = preferred_wait_s(prefer or [], LONGEST_WAIT_S)
        _check_key(idempotency_key)
        origin = Origin(request.scope[REQUEST_ID], request.scope[TRACE])
        held = _hold(request, service)
        try:
            upload = await read(request, form)
        except BaseException:
            service.uploads.let_go(held)
            raise
        submission = background.start(_submitted(service, caller, upload, to_order, idempotency_key, origin))
        del upload  # who waits for a result holds no pictures
        submission.add_done_callback(lambda _: service.uploads.let_go(held))
        try:
            job, replayed = await asyncio.shield(submission)
            headers = {"Location": f"/v1/jobs/{job.id}"} | ({"Idempotent-Replayed": "true"} if replayed else {})
            if wait_s is not None:
                headers["Preference-Applied"] = f"wait={wait_s:g}"
                job = await _waited(service, caller, job, wait_s)
        except asyncio.CancelledError:  # the caller hung up; without a key it cannot ask for the job again
            if idempotency_key is None:
                background.start(_withdraw(service, caller, submission))
            raise
        if wait_s is not None and job.is_finished:
            response = await responses.of_result(service, job, kind)
            response.headers.update(headers)
            return response
        return responses.of_view(job, 202, headers | _RETRY_AFTER)


def _hold(request: Request, service: Service) -> int:
    """Room for an upload until its pictures are stored: what many send at once must not be in memory at once. Raises `ProblemError`."""
    announced = request.headers.get("content-length", "")
    num_bytes = int(announced) if announced.isascii() and announced.isdigit() else 0
    try:
        service.uploads.reserve(num_bytes)
    except BodyRefused as refused:
        raise ProblemError(cast(Problem, refused.problem)) from None
    return num_bytes


async def _submitted(
    service: Service, caller: str, upload: Upload[Any], to_order: ToOrder, key: str | None, origin: Origin
) -> tuple[Job, bool]:
    ordered = await to_order(service, upload)
    order, pictures = ordered.order, ordered.pictures
    model = None if order.kind == "export" else await service.model(ordered.model, order.needs)
    new = await service.job_of(caller, order, model, key, ordered.seeds, origin, sum(map(len, pictures)))
    await service.admit(new)  # before anything is written: what is refused must not fill the disk
    await asyncio.to_thread(lambda: [service.blobs.put(data) for data in pictures])
    accepted = await service.submit(new)
    # One of them may have been about to be forgotten when it was sent again.
    await asyncio.to_thread(lambda: [service.blobs.put(data) for data in pictures])
    return accepted.job, accepted.replayed


async def _waited(service: Service, caller: str, job: Job, wait_s: float) -> Job:
    """The job at its end, or after `wait_s` seconds. It is taken on already, so its caller learns of it even where the store fails."""
    try:
        return await service.store.wait(caller, job.id, wait_s) or job
    except Exception:
        log.warning("cannot be waited for", job=job.id, exc_info=True)
        return job


async def _withdraw(service: Service, caller: str, submission: "asyncio.Task[tuple[Job, bool]]") -> None:
    """Cancel a job whose id its caller never learned: nobody could fetch the result."""
    with contextlib.suppress(ProblemError):
        job, _ = await submission
        await service.store.cancel(caller, job.id)


async def _check_rate(request: Request, service: Service, caller: str) -> None:
    wait_s = await service.store.rates.hit(caller, facts_of(request).rate)
    if wait_s is not None:
        raise ProblemError(Problem("too-many-requests", f"You start jobs faster than agreed; go on in {wait_s} s.", retry_after_s=wait_s))


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise ProblemError(Problem("invalid", "Idempotency-Key must be 1 to 128 printable ASCII characters."))


_endpoint("/v1/layers", "Draw one foreground layer, or candidates of it", forms.LAYER, forms.layer)
_endpoint("/v1/extractions", "Take a layer out of a finished picture", forms.EXTRACTION, forms.extraction)
_endpoint("/v1/documents", "Draw several layers, back to front, or one of them anew", forms.DOCUMENT, forms.document)
_endpoint("/v1/exports", "Compose a document and write it in another form", forms.EXPORT, forms.export)
