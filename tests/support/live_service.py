"""The real application with its fake engine behind a real socket, in a thread: it can be stopped, started again, and made to fail."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from bfs_serve.api.ingress import create_app
from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.job.orders import ExportOrder
from bfs_serve.model.sampler import Sampler, SamplerSettings
from bfs_serve.model.worker import Worker, WorkerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, Wanted

Fault = Callable[[Any, Any, Any, Any], Any]
"""An ASGI application around another: `(app, scope, receive, send)`."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class LiveService:
    """A service with its state in `folder`. `faults`: by method and end of the path, what happens to the next such requests."""

    folder: Path
    models: list[str] = field(default_factory=lambda: ["fake"])
    engine: str = "bfs_serve.model.fake:FakeEngine"
    follow_s: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    faults: dict[tuple[str, str], list[Fault]] = field(default_factory=dict)
    _port: int = 0
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve, on the same port as before."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self._port))
        self._port = sock.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(sock, ready)), name="live-service")
        self._thread.start()
        assert ready.wait(60)

    def stop(self) -> None:
        """End, with all connections."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(60)
            assert not self._thread.is_alive()
            self._thread = None

    def requests(self, method: str, end: str = "") -> list[Asked]:
        """What was asked with this method, at paths with this end."""
        return [asked for asked in self.asked if asked.method == method and asked.path.endswith(end)]

    async def _serve(self, sock: socket.socket, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        places = str(self.folder / "jobs.db"), str(self.folder / "blobs")
        store, blobs = JobStore(places[0], Limits()), Blobs(places[1])
        composer = Worker("composer", store, blobs, WorkerSettings(Wanted((ExportOrder.kind,))))
        app = create_app(Service(store, blobs, Pictures(), self.models), background=(composer.run,))
        sampler = Sampler(SamplerSettings(*places, self.engine, lease_s=5, grace_s=0))
        await sampler.reconfigure({"models": self.models, "follow_s": self.follow_s})
        config = uvicorn.Config(self._faulty(app), log_config=None, lifespan="on", timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve([sock]))
        while not server.started:
            await asyncio.sleep(0.01)
        ready.set()
        await self._stopped.wait()
        server.should_exit = True
        await serving
        await sampler.close()
        await composer.stop(1.0)

    def _faulty(self, app: Any) -> Any:
        async def around(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
            query = scope["query_string"].decode()
            self.asked.append(Asked(scope["method"], scope["path"] + (f"?{query}" if query else ""), headers))
            waiting = [found for (method, end), found in self.faults.items() if method == scope["method"] and scope["path"].endswith(end)]
            fault = waiting[0].pop(0) if waiting and waiting[0] else None
            if fault is None:
                await app(scope, receive, send)
            else:
                await fault(app, scope, receive, send)

        return around


async def lost_answer(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """The request is carried out; its answer breaks off after the head."""

    async def only_the_head(message: Any) -> None:
        if message["type"] == "http.response.start":
            await send(message)

    await app(scope, receive, only_the_head)
    raise ConnectionError


def broken_after(num_events: int) -> Fault:
    """A stream that breaks off after so many events."""

    async def fault(app: Any, scope: Any, receive: Any, send: Any) -> None:
        seen = 0

        async def counted(message: Any) -> None:
            nonlocal seen
            if message["type"] == "http.response.body" and seen >= num_events:
                raise ConnectionError
            seen += b"event:" in message.get("body", b"")
            await send(message)

        await app(scope, receive, counted)

    return fault


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Another answer than the application's; underscores in the names of headers are dashes."""

    async def fault(app: Any, scope: Any, receive: Any, send: Any) -> None:
        encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    return fault


@contextlib.contextmanager
def live_service(folder: Path, models: str = "fake", engine: str = LiveService.engine, follow_s: float = 0.0) -> Iterator[LiveService]:
    """A running service, stopped at the end. `models`: names that its engine knows, with commas between them."""
    service = LiveService(folder, models.split(","), engine, follow_s=follow_s)
    service.start()
    try:
        yield service
    finally:
        service.stop()
