"""The service without Ray: coordinator, sampler and fake engine in one event loop, behind Starlette's test client."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from bfs_serve.coordinator import Coordinator, Limits
from bfs_serve.fake import FakeEngine
from bfs_serve.ingress import create_app
from bfs_serve.orders import Order
from bfs_serve.sampler import Sampler

MakePng = Callable[..., bytes]
Serve = Callable[..., TestClient]


def _png(width: int = 48, height: int = 32, seed: int = 0, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="session")
def make_png() -> MakePng:
    """Makes the bytes of a picture of noise: (width, height, seed, format)."""
    return _png


@pytest.fixture
def order(make_png: MakePng) -> Order:
    """An order for a small picture."""
    return Order(make_png(), 48, 32, (8, 4, 40, 28), "a red ball", seed=7, steps=3)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts the application in this process: (model, limits, require_guard). The client is closed at the end."""
    clients: list[TestClient] = []

    def start(model: str = "fake", limits: Limits | None = None, require_guard: bool = False) -> TestClient:
        sampler = Sampler(FakeEngine)
        coordinator = Coordinator(sampler, limits or Limits())
        client = TestClient(create_app(coordinator, require_guard=require_guard), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        client.portal.call(sampler.reconfigure, {"model": model, "follow_s": 0})
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """The application with its defaults."""
    return serve()
