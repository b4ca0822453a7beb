"""The service without Ray: application, sampler and fake engine in one event loop, behind Starlette's test client."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from bfs_serve.api.ingress import create_app
from bfs_serve.api.pictures import Pictures
from bfs_serve.api.service import Service
from bfs_serve.job.orders import ExportOrder
from bfs_serve.model.sampler import Sampler, SamplerSettings
from bfs_serve.model.worker import Worker, WorkerSettings
from bfs_serve.store.blobs import Blobs
from bfs_serve.store.jobs import JobStore
from bfs_serve.store.records import Limits, Wanted

MakePng = Callable[..., bytes]
Serve = Callable[..., TestClient]
FAKE = "bfs_serve.model.fake:FakeEngine"


def _png(width: int = 48, height: int = 32, seed: int = 0, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="session")
def make_png() -> MakePng:
    """Makes the bytes of a picture of noise: (width, height, seed, format)."""
    return _png


@dataclass
class Running:
    """One service in this process."""

    client: TestClient
    sampler: Sampler
    composer: Worker


class KeptPictures(Pictures):
    """Outlives the services that it is lent to: its children take longer to start than most tests."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True  # for the service alone


@pytest.fixture(scope="session")
def pictures() -> Iterator[Pictures]:
    """The readers of all services of a test run."""
    kept = KeptPictures()
    yield kept
    Pictures.close(kept)


@pytest.fixture
def serve(tmp_path: Path, pictures: Pictures) -> Iterator[Serve]:
    """Starts the application in this process: (model, limits, require_guard). Everything is closed at the end."""
    started: list[Running] = []

    def start(model: str = "fake", limits: Limits | None = None, require_guard: bool = False) -> TestClient:
        folder = tmp_path / str(len(started))
        store, blobs = JobStore(str(folder / "jobs.db"), limits or Limits()), Blobs(str(folder / "blobs"))
        service = Service(store, blobs, pictures, model.split(","))
        composer = Worker("composer", store, blobs, WorkerSettings(Wanted((ExportOrder.kind,))))
        app = create_app(service, require_guard=require_guard, background=(composer.run,))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        assert client.portal is not None

        async def sampling() -> Sampler:
            settings = SamplerSettings(str(folder / "jobs.db"), str(folder / "blobs"), FAKE, limits or Limits(), lease_s=5, grace_s=0)
            sampler = Sampler(settings)
            await sampler.reconfigure({"models": model.split(","), "follow_s": 0})
            return sampler

        started.append(Running(client, client.portal.call(sampling), composer))
        client.app.state.folder = folder  # type: ignore[attr-defined]
        return client

    yield start
    for running in started:
        assert running.client.portal is not None
        running.client.portal.call(running.sampler.close)
        running.client.portal.call(running.composer.stop, 1.0)
        running.client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """The application with its defaults."""
    return serve()
