"""`AsyncBFSClient`: draw, extract, compose and fetch, awaited. Every request can be repeated without drawing anything twice."""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx2
from anyio import move_on_after

from bfs_model.errors import BadInput
from bfs_platform.client.errors import PASSING, ServiceError, of_problem, parsed, unreachable
from bfs_platform.client.events import Event, events
from bfs_platform.client.sources import Source, encoded, form_text, read
from bfs_platform.client.transport import OnWait, Transport
from bfs_platform.client.views import JobPage, JobResult, JobView, ModelPage, ModelView

OnEvent = Callable[[Event], None]

_JSON = {"Accept": "application/json"}
_ENDS = ("succeeded", "failed", "canceled")
_ATTEMPTS = 3  # jobs of one call: the service itself has tried each of them twice
_WITHDRAWAL_S = 5.0  # how long someone who interrupts a call waits for its job to be canceled


class AsyncBFSClient:
    """A service at `url`. `key`: an API key, by default that of the environment's BFS_API_KEY.

    What passes (a service that starts anew, a full queue) is waited out for `patience_s`, and `on_wait` is told why. A call that
    is canceled cancels its job. Raises `BadInput` for what the service refuses and `ServiceError` for what it cannot do now.
    `transport` is for services that are not behind a socket.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        patience_s: float = 30.0,
        on_wait: OnWait | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        key = os.environ.get("BFS_API_KEY") if key is None else key
        self._transport = Transport(url, key, patience_s, on_wait, transport)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return self._transport.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.close()

    # Work

    async def draw(
        self,
        background: Source,
        box: Sequence[int],
        prompt: str = "",
        *,
        reference: Source = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> JobResult:
        """Draw one layer, or with `candidates` several. Further `settings` are those of `fields.LayerFields`: seed, steps, model, …"""
        fields = {"box": _corners(box), "prompt": prompt, **settings}
        return await self._made("layers", _form({"background": background, "reference": reference}, fields), on_event)

    async def extract(
        self,
        composite: Source,
        background: Source,
        box: Sequence[int] | None = None,
        prompt: str = "",
        *,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> JobResult:
        """Take a layer out of a finished picture; where the two differ if no box is given. `settings`: `fields.ExtractionFields`."""
        fields = {"box": None if box is None else _corners(box), "prompt": prompt, **settings}
        return await self._made("extractions", _form({"composite": composite, "background": background}, fields), on_event)

    async def document(
        self,
        background: Source,
        layers: Sequence[Mapping[str, Any]],
        *,
        redraw: str | None = None,
        document: Source = None,
        on_event: OnEvent | None = None,
        **settings: Any,
    ) -> JobResult:
        """Draw several layers, back to front; with `redraw` that one alone, onto `document`.

        Each layer has the members of `fields.SceneLayerFields`, and `reference`, a picture, if it is shown.
        """
        described = [{key: value for key, value in layer.items() if value is not None} for layer in layers]
        for number, layer in enumerate(described):
            if "reference" in layer:
                layer["reference"] = encoded(layer["reference"], f"layers[{number}].reference")
        body: dict[str, Any] = {"background": encoded(background, "background"), "layers": described, **settings}
        if redraw is not None:
            body["redraw"] = redraw
        if document is not None:
            body["document"] = encoded(document, "document")
        return await self._made("documents", {"json": body}, on_event)

    async def export(
        self,
        document: Source,
        edits: Sequence[Mapping[str, Any]] = (),
        order: Sequence[str] | None = None,
        *,
        on_event: OnEvent | None = None,
    ) -> JobResult:
        """Compose a document anew: layers moved, scaled, faded, removed (`fields.EditFields`), reordered."""
        fields = {"edits": json.dumps([dict(edit) for edit in edits]), "order": None if order is None else json.dumps(list(order))}
        return await self._made("exports", _form({"document": document}, fields), on_event)

    async def start(self, kind: str, files: Mapping[str, Source], fields: Mapping[str, Any]) -> JobView:
        """Start a job of this kind (layers, extractions, documents, exports) and return at once."""
        return await self._started(kind, secrets.token_hex(16), _form(files, fields))

    # Jobs

    async def job(self, job_id: str) -> JobView:
        """A job as it is now."""
        return parsed(JobView, await self._transport.ask("GET", f"/v1/jobs/{job_id}", headers=_JSON), self.url)

    async def jobs(self, status: str | None = None) -> AsyncIterator[JobView]:
        """All jobs of this key's name, newest first."""
        path: str | None = "/v1/jobs" + (f"?status={status}" if status else "")
        while path is not None:
            page = parsed(JobPage, await self._transport.ask("GET", path, headers=_JSON), self.url)
            for job in page.jobs:
                yield job
            path = page.next

    async def events(self, job_id: str) -> AsyncGenerator[Event, None]:
        """What happens to a job, from its beginning to its end; a line that breaks is taken up where it broke."""
        last, patience = "0", self._transport.patience()
        while True:
            asked_s: float | None = 0.0
            try:
                async with self._transport.follow(f"/v1/jobs/{job_id}/events", {"Last-Event-ID": last}) as answer:
                    if answer.status_code == 204:
                        return
                    if answer.status_code == 200:
                        async for event in events(answer.aiter_lines(), patience.renew):
                            last = event.id
                            yield event
                            if event.name in _ENDS:
                                return
                        failure: Exception = ServiceError(f"url={self.url} broke off the events of job {job_id}")
                    else:
                        failure, asked_s = self._transport.refusal(answer)
            except httpx2.HTTPError as error:
                failure = unreachable(error, self.url)
            if asked_s is None:
                raise failure
            await self._transport.wait(patience, failure, asked_s)

    async def result(self, job_id: str) -> JobResult:
        """The result of a finished job."""
        return parsed(JobResult, await self._transport.ask("GET", f"/v1/jobs/{job_id}/result", headers=_JSON), self.url)

    async def file(self, job_id: str, format: str, candidate: int = 0) -> bytes:
        """The result as a file: png, psd, ora or zip."""
        path = f"/v1/jobs/{job_id}/result?format={format}&candidate={candidate}"
        return (await self._transport.ask("GET", path)).content

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; one that is finished stays as it is."""
        await self._transport.ask("DELETE", f"/v1/jobs/{job_id}")

    async def forget(self, job_id: str) -> None:
        """Forget the result of a finished job, and its pictures: room for others."""
        await self._transport.ask("DELETE", f"/v1/jobs/{job_id}/result")

    async def models(self) -> list[ModelView]:
        """What is served."""
        return parsed(ModelPage, await self._transport.ask("GET", "/v1/models", headers=_JSON), self.url).models

    async def metrics(self) -> str:
        """What the service counts, as Prometheus reads it. A key needs the scope `metrics`."""
        return (await self._transport.ask("GET", "/metrics")).text

    # One request

    async def _started(self, kind: str, key: str, content: Mapping[str, Any]) -> JobView:
        # One key for all tries of a request: however often it is sent, it is one job.
        answer = await self._transport.ask("POST", f"/v1/{kind}", headers=_JSON | {"Idempotency-Key": key}, **content)
        return parsed(JobView, answer, self.url)

    async def _made(self, kind: str, content: Mapping[str, Any], on_event: OnEvent | None) -> JobResult:
        """Start a job, follow it to its end, and fetch what came of it. One that fails of what passes is opened again by its key."""
        key, job = secrets.token_hex(16), None
        try:
            for left in reversed(range(_ATTEMPTS)):
                job = await self._started(kind, key, content)
                failure = await self._followed(job.id, on_event)
                if failure is None:
                    break
                if not left or not (isinstance(failure, ServiceError) and failure.status in PASSING):
                    raise failure
                await self._transport.wait(self._transport.patience(), failure)
            assert job is not None
            return await self.result(job.id)
        except asyncio.CancelledError:
            with move_on_after(_WITHDRAWAL_S, shield=True), contextlib.suppress(BadInput, ServiceError):
                # Whether a request arrived whose answer did not is not known: the key says which job it became.
                job = job or await self._started(kind, key, content)
                await self.cancel(job.id)
            raise

    async def _followed(self, job_id: str, on_event: OnEvent | None) -> Exception | None:
        """Follow a job to its end. Returns what it failed of."""
        async with contextlib.aclosing(self.events(job_id)) as followed:
            async for event in followed:
                if on_event is not None:
                    on_event(event)
                if event.name != "succeeded" and event.name in _ENDS:
                    return self._failure(job_id, event)
        return None

    def _failure(self, job_id: str, event: Event) -> Exception:
        problem = event.data.get("problem")
        if event.name == "failed" and isinstance(problem, dict):
            return of_problem(problem, int(problem.get("status", 500)), self.url)
        return ServiceError(f"url={self.url} job {job_id} was {event.name}")


def _form(files: Mapping[str, Source], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A multipart request; what is None is left out."""
    parts = {name: read(source, name) for name, source in files.items() if source is not None}
    return {"files": parts, "data": {name: form_text(value) for name, value in fields.items() if value is not None}}


def _corners(box: Sequence[int]) -> str:
    return ",".join(str(int(number)) for number in box)
