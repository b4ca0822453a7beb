"""An engine that needs no weights, for tests and for trying the API: it draws a disc with a soft shadow. It is not a model."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_serve.job.engine import Canceled, Generation, ModelInfo, OnStep, Pin, Request, Settings
from bfs_serve.job.orders import REFERENCE, Box
from bfs_serve.telemetry.amounts import Amounts


class FakeEngine:
    """Draws a disc, coloured by seed and prompt, with a shadow, inside the box. Any model name but `missing…` will do.

    `fake?step_s=0.2` makes each step take 0.2 s, `?load_s=3` loading; `?version_file=PATH` reads the version from a file, so that
    the name can mean another one later. A version that begins with `broken` cannot be loaded. The prompts `fail` and `refuse`
    raise what a broken engine and a picky one would, `hang` makes no step for a minute.
    """

    DEFAULT_STEPS = 4
    batches_exactly = True

    def __init__(self, name: str, pin: Pin) -> None:
        if pin.version.startswith("broken"):
            raise RuntimeError("this version was made to fail")
        settings = _settings(name)
        time.sleep(settings.get("load_s", 0.0))
        self.info = ModelInfo(name, pin.version, (REFERENCE,), default_steps=self.DEFAULT_STEPS, window_size=64)
        self._step_s = settings.get("step_s", 0.0)

    @classmethod
    def locate(cls, name: str) -> Pin:
        """The name is the version, or it stands in a file."""
        if name.startswith("missing"):
            raise BadInput("model", name, "does not exist", "choose another name")
        file = parse_qs(name.partition("?")[2]).get("version_file")
        version = Path(file[0]).read_text(encoding="utf-8").strip() if file else f"fake-{name.partition('?')[0]}"
        return Pin(name, version)

    def draw(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        """See `bfs_serve.job.engine.Engine`."""
        prompts = [request.prompt for request in requests]
        if "fail" in prompts:
            raise RuntimeError("this engine was told to fail")
        if "refuse" in prompts:
            raise BadInput("prompt", "<6 characters>", "is refused", "ask for something else")
        if "hang" in prompts:
            time.sleep(60)
        layers = [Image.fromarray(disc(r.background.width, r.background.height, r.box, r.seed, r.prompt)) for r in requests]
        steps = settings.steps or self.DEFAULT_STEPS
        for step in range(1, steps + 1):
            if canceled():
                raise Canceled
            time.sleep(self._step_s)
            on_step(step, steps, lambda: layers)
        return [Generation(layer, request.seed) for layer, request in zip(layers, requests, strict=True)]

    def counted(self) -> Amounts:
        """See `bfs_serve.job.engine.Engine`."""
        return {}


def disc(width: int, height: int, box: Box, seed: int, prompt: str) -> np.ndarray:
    """RGBA uint8 [height, width, 4]: a disc in the upper part of the box over a soft elliptic shadow in the lower."""
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[y0:y1, x0:x1].astype(np.float32) + 0.5
    u, v = (columns - x0) / (x1 - x0), (rows - y0) / (y1 - y0)
    body = ((u - 0.5) / 0.4) ** 2 + ((v - 0.42) / 0.4) ** 2 <= 1
    shadow = np.clip(1 - np.hypot((u - 0.5) / 0.5, (v - 0.85) / 0.14), 0, 1) * 120
    colour = np.random.default_rng([seed, *prompt.encode()]).integers(40, 256, 3)
    layer = np.zeros((height, width, 4), np.uint8)
    inside = layer[y0:y1, x0:x1]
    inside[..., 3] = np.where(body, 255, shadow)
    inside[body, :3] = colour
    return layer


def _settings(name: str) -> dict[str, float]:
    query = parse_qs(name.partition("?")[2])
    return {key: float(value[0]) for key, value in query.items() if key.endswith("_s")}
