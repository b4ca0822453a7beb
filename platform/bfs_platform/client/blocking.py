"""`BFSClient`: the same client for programs without an event loop, and for notebooks, whose loop is taken."""

import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent import futures
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import start_blocking_portal

from bfs_platform.client.aio import AsyncBFSClient
from bfs_platform.client.events import Event
from bfs_platform.client.sources import Source
from bfs_platform.client.views import JobResult, JobView, ModelView

_INTERRUPTIBLE_S, _UNWOUND_S = 0.2, 10.0


class BFSClient:
    """As `AsyncBFSClient`, with the same arguments, each call blocking until it is done. Ctrl-C cancels the job of the call.

    `on_event` and `on_wait` are called on another thread.
    """

    def __init__(self, url: str, key: str | None = None, **settings: Any) -> None:
        self._client = AsyncBFSClient(url, key, **settings)
        self._stack = contextlib.ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.callback(lambda: self._portal.call(self._client.close))

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._stack.close()

    def draw(self, background: Source, box: Sequence[int], prompt: str = "", **settings: Any) -> JobResult:
        """Draw one layer, or with `candidates` several."""
        return self._call(partial(self._client.draw, background, box, prompt, **settings))

    def extract(
        self, composite: Source, background: Source, box: Sequence[int] | None = None, prompt: str = "", **settings: Any
    ) -> JobResult:
        """Take a layer out of a finished picture."""
        return self._call(partial(self._client.extract, composite, background, box, prompt, **settings))

    def document(self, background: Source, layers: Sequence[Mapping[str, Any]], **settings: Any) -> JobResult:
        """Draw several layers, back to front, or one of them anew."""
        return self._call(partial(self._client.document, background, layers, **settings))

    def export(
        self, document: Source, edits: Sequence[Mapping[str, Any]] = (), order: Sequence[str] | None = None, **settings: Any
    ) -> JobResult:
        """Compose a document anew."""
        return self._call(partial(self._client.export, document, edits, order, **settings))

    def start(self, kind: str, files: Mapping[str, Source], fields: Mapping[str, Any]) -> JobView:
        """Start a job and return at once."""
        return self._call(partial(self._client.start, kind, files, fields))

    def job(self, job_id: str) -> JobView:
        """A job as it is now."""
        return self._call(partial(self._client.job, job_id))

    def jobs(self, status: str | None = None) -> Iterator[JobView]:
        """All jobs of this key's name, newest first."""
        return self._iterate(self._client.jobs(status))

    def events(self, job_id: str) -> Iterator[Event]:
        """What happens to a job, from its beginning to its end."""
        return self._iterate(self._client.events(job_id))

    def result(self, job_id: str) -> JobResult:
        """The result of a finished job."""
        return self._call(partial(self._client.result, job_id))

    def file(self, job_id: str, format: str, candidate: int = 0) -> bytes:
        """The result as a file: png, psd, ora or zip."""
        return self._call(partial(self._client.file, job_id, format, candidate))

    def cancel(self, job_id: str) -> None:
        """Cancel a job; one that is finished stays as it is."""
        self._call(partial(self._client.cancel, job_id))

    def forget(self, job_id: str) -> None:
        """Forget the result of a finished job, and its pictures: room for others."""
        self._call(partial(self._client.forget, job_id))

    def models(self) -> list[ModelView]:
        """What is served."""
        return self._call(self._client.models)

    def metrics(self) -> str:
        """What the service counts, as Prometheus reads it."""
        return self._call(self._client.metrics)

    def _call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        ended = threading.Event()

        async def run() -> Any:
            try:
                return await call()
            finally:
                ended.set()

        future = self._portal.start_task_soon(run)
        try:
            while not futures.wait([future], _INTERRUPTIBLE_S).done:
                pass  # a signal that another thread received is seen between two waits
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            ended.wait(_UNWOUND_S)  # the call cancels its job before it ends
            raise

    def _iterate(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._call(items.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self._call(items.aclose)
