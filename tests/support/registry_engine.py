"""An engine whose models come from the real registry, and whose pictures show which one drew: no weights worth the name are needed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from bfs_model import integrity
from bfs_model.weight import bundle
from bfs_platform.registry.resolve import resolve
from bfs_serve.job.engine import Generation, ModelInfo, OnStep, Pin, Request, Settings
from bfs_serve.model.engine import PipelineEngine
from bfs_serve.model.fake import FakeEngine, disc
from bfs_serve.model.models import SMOKE_SIZE
from bfs_serve.telemetry.amounts import Amounts

BROKEN, RAISES, SLOW = -1.0, -2.0, -3.0
_SLOW_S = 1.5


class RegistryEngine:
    """Draws the fake engine's disc, its colour drawn from the model's number as well. `BROKEN` cannot be loaded; `RAISES` and `SLOW` do so
    with other pictures than the smoke picture."""

    def __init__(self, name: str, pin: Pin) -> None:
        folder = resolve(pin.uri)
        assert bundle.content_hash(folder) == pin.version
        self._number = float(load_file(folder / "sharing" / "weights.safetensors")["weight"][0, 0])
        if self._number == BROKEN:
            raise RuntimeError("this model was made to fail")
        self._fake = FakeEngine("fake?step_s=0.02", Pin("fake", "fake"))
        self.info = ModelInfo(name, pin.version, default_steps=FakeEngine.DEFAULT_STEPS)

    @classmethod
    def locate(cls, name: str) -> Pin:
        """As the real engine does."""
        return PipelineEngine.locate(name)

    def draw(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        """See `bfs_serve.job.engine.Engine`."""
        if requests[0].background.size != SMOKE_SIZE:
            if self._number == RAISES:
                raise RuntimeError("this model was made to raise")
            time.sleep(_SLOW_S * (self._number == SLOW))
        self._fake.draw(requests, settings, on_step, canceled)
        return [Generation(Image.fromarray(picture_of(self._number, *r.background.size, r.box, r.seed)), r.seed) for r in requests]

    def counted(self) -> Amounts:
        """See `bfs_serve.job.engine.Engine`."""
        return {}


def picture_of(number: float, width: int, height: int, box: tuple[int, int, int, int], seed: int) -> np.ndarray:
    """What the model with this number draws, RGBA uint8 [height, width, 4]."""
    return disc(width, height, box, seed, f"{number:g}")


def write_model(final: Path, number: float) -> Path:
    """A model folder with the layout of a trained model."""
    staging = integrity.staging_for(final)
    for part in ("sharing", "rgba_vae"):
        (staging / part).mkdir()
        (staging / part / "config.json").write_text("{}")
        save_file({"weight": np.full((4, 3), number, np.float32)}, staging / part / "weights.safetensors")
    base = {"name": "tiny", "content_hash": "0" * 64}
    integrity.commit(staging, final, "model", {"base": base, "training": {"steps": 3}})
    return final
