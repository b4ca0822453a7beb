"""What callers of a storm ask for, and the pictures that they must get: each follows from the seed alone."""

import base64
import functools
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from storm_engine import TINY

from bfs_model.document import file as documents
from bfs_model.document.layers import LayerStack
from bfs_serve.job.engine import Request, Settings
from bfs_serve.model.engine import PipelineEngine
from bfs_serve.model.fake import disc

WIDTH, HEIGHT, BOX, MOVED = 48, 32, (8, 4, 40, 28), 5
STEPS, TINY_STEPS = 4, 2
PROMPT, TINY_PROMPT = "a ball", "a small blue glass cone"
SHARES = {"layer": 12, "extraction": 3, "document": 2, "export": 3, "tiny": 0}
_PATHS = {"extraction": "/v1/extractions", "document": "/v1/documents", "export": "/v1/exports"}


@dataclass(frozen=True)
class Wish:
    """`kind`: a key of `SHARES`. Two wishes with one seed do not occur."""

    kind: str
    seed: int

    @property
    def path(self) -> str:
        return _PATHS.get(self.kind, "/v1/layers")

    def content(self) -> dict[str, Any]:
        """The body, as arguments of the HTTP client."""
        if self.kind == "export":
            return {"files": {"document": ("d.zip", _document(self.seed))}, "data": {"edits": json.dumps([{"layer": "ball", "x": MOVED}])}}
        files = {"background": ("b.png", _background())}
        if self.kind == "document":
            layer = {"name": "ball", "box": list(BOX), "prompt": PROMPT, "seed": self.seed, "steps": STEPS}
            return {"files": files, "data": {"layers": json.dumps([layer])}}
        fields = {"box": ",".join(map(str, BOX)), "seed": str(self.seed), "steps": str(STEPS)}
        if self.kind == "extraction":
            return {"files": files | {"composite": ("c.png", _background(red=200))}, "data": fields}
        if self.kind == TINY:
            return {"files": files, "data": fields | {"prompt": TINY_PROMPT, "model": TINY, "steps": str(TINY_STEPS)}}
        return {"files": files, "data": fields | {"prompt": PROMPT}}

    def is_met_by(self, result: dict[str, Any]) -> bool:
        """Whether a JSON result holds the pictures that the seed gives, to the last bit."""
        if self.kind in ("document", "export"):
            stack = documents.decode(base64.b64decode(result["document_zip"]), shown="document")
            ids, drawn = [layer.id for layer in stack], stack["ball"].on_canvas(WIDTH, HEIGHT)
            return ids == ["background", "ball"] and np.array_equal(_shown(drawn), _shown(self._layer))
        return np.array_equal(Image.open(io.BytesIO(base64.b64decode(result["layer_png"]))), self._layer)

    @property
    def _layer(self) -> np.ndarray:
        """RGBA uint8 [H, W, 4]."""
        if self.kind == TINY:
            return _of_tiny(self.seed)
        layer = disc(WIDTH, HEIGHT, BOX, self.seed, "" if self.kind == "extraction" else PROMPT)
        return _moved(layer) if self.kind == "export" else layer


def _shown(layer: np.ndarray) -> np.ndarray:
    """Without the colours under alpha 0, which documents fill."""
    return np.where(layer[..., 3:] > 0, layer, 0)


def _moved(layer: np.ndarray) -> np.ndarray:
    """The layer with the left edge of what it shows at `MOVED`."""
    return np.roll(layer, MOVED - int(np.flatnonzero(layer[..., 3].any(axis=0))[0]), axis=1)


@functools.cache
def _background(red: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (red, 120, 150)).save(out, "PNG")
    return out.getvalue()


def _document(seed: int) -> bytes:
    stack = LayerStack.new(Image.open(io.BytesIO(_background())))
    stack.add(disc(WIDTH, HEIGHT, BOX, seed, PROMPT), id="ball", box=BOX, name="ball", seed=seed)
    return documents.encode(stack, ".zip")


@functools.cache
def _tiny() -> PipelineEngine:
    return PipelineEngine(TINY, PipelineEngine.locate(TINY))


@functools.cache
def _of_tiny(seed: int) -> np.ndarray:
    request = Request(Image.open(io.BytesIO(_background())), BOX, TINY_PROMPT, seed)
    (drawn,) = _tiny().draw([request], Settings(steps=TINY_STEPS), lambda done, total, preview: None, lambda: False)
    return np.asarray(drawn.layer)
