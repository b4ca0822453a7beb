"""An engine that needs no weights, for tests and for trying the API: it draws a disc with a soft shadow. It is not a model."""

import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_serve.orders import Canceled, Generation, ModelInfo


class FakeEngine:
    """Draws a disc, coloured by seed and prompt, with a shadow, inside the box. Any model name but `missing` will do.

    `fake?step_s=0.2` makes each step take 0.2 s. The prompts `fail` and `refuse` raise what a broken engine and a picky
    one would.
    """

    DEFAULT_STEPS = 4

    def __init__(self, model: str) -> None:
        name, _, setting = model.partition("?step_s=")
        self.info = ModelInfo(name, self.locate(model))
        self._step_s = float(setting or 0)

    @classmethod
    def locate(cls, model: str) -> str:
        """The name is the version."""
        if model.startswith("missing"):
            raise BadInput("model", model, "does not exist", "choose another name")
        return f"fake-{model.partition('?')[0]}"

    def generate(
        self,
        background: Image.Image,
        box: tuple[int, int, int, int],
        prompt: str,
        seed: int,
        steps: int | None,
        on_step: Callable[[int, int], None],
        cancelled: Callable[[], bool],
        reference: Image.Image | None = None,
    ) -> Generation:
        """See `bfs_serve.orders.Engine`."""
        if prompt == "fail":
            raise RuntimeError("this engine was told to fail")
        if prompt == "refuse":
            raise BadInput("prompt", "<6 characters>", "is refused", "ask for something else")
        steps = steps or self.DEFAULT_STEPS
        for step in range(1, steps + 1):
            if cancelled():
                raise Canceled
            time.sleep(self._step_s)
            on_step(step, steps)
        layer = disc(background.width, background.height, box, seed, prompt)
        return Generation(Image.fromarray(layer), seed)


def disc(width: int, height: int, box: tuple[int, int, int, int], seed: int, prompt: str) -> np.ndarray:
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
