"""A real service with the fake engine, and clients of it."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live_service import LiveService, live_service
from PIL import Image

from bfs_platform.client import BFSClient

SLOW = "fake?step_s=0.15"


def png(seed: int = 0, width: int = 48, height: int = 32, kind: str = "PNG") -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BFS_API_KEY", raising=False)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    """Serves `fake`, and `SLOW`, whose every step takes 0.15 s."""
    with live_service(tmp_path / "service", f"fake,{SLOW}") as running:
        yield running


@pytest.fixture
def client(service: LiveService) -> Iterator[BFSClient]:
    """A blocking client of it."""
    with BFSClient(service.url) as client:
        yield client
