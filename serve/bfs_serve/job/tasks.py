"""An order being carried out, in three parts: `prepare` (blobs to pictures), `draw` (the model), `deliver` (pictures to blobs).

Only `draw` needs the thread of the model; the others run beside it, so that the model never waits for a file.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from bfs_model.document.layers import LayerStack
from bfs_model.document.scene import Picture as ScenePicture
from bfs_model.document.scene import Scene
from bfs_model.document.scene import SceneLayer as DrawnLayer
from bfs_model.picture.boxes import bounding_box
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import png_bytes, read_image
from bfs_model.sampling.warnings import warnings_of
from bfs_serve.job.engine import AsPipeline, Engine, Generation, OnStep, Request, Settings
from bfs_serve.job.orders import DocumentOrder, ExtractionOrder, LayerOrder
from bfs_serve.job.results import Picture, Result
from bfs_serve.store.blobs import Blobs

MAX_DOCUMENT_PIXELS = 3 * 8192 * 8192  # of all layers of a document that is sent: three of the largest canvas, 768 MiB
_NOWHERE = Path("upload")  # pictures of a request have no place of their own


class Task(Protocol):
    """One order. The parts are called once each, in this order, on any threads."""

    def prepare(self, blobs: Blobs) -> None:
        """Fetch and decode what is needed."""

    def draw(self, engine: Engine, on_step: OnStep, canceled: Callable[[], bool]) -> None:
        """Let the model do its part. Raises what the engine raises."""

    def deliver(self, blobs: Blobs) -> Result:
        """Encode and store what was drawn."""


class LayerTask:
    """One layer, several candidates of it, or one that is extracted from a finished picture."""

    def __init__(self, order: LayerOrder | ExtractionOrder) -> None:
        self.order = order
        self.requests: list[Request] = []
        self._drawn: list[Generation] = []
        self._model: tuple[str, str] = ("", "")
        self._seconds = 0.0

    @property
    def settings(self) -> Settings:
        o = self.order
        of_extraction = (o.joint_guidance, o.refit) if isinstance(o, ExtractionOrder) else (0.0, False)
        return Settings(o.steps, o.true_cfg_scale, o.step_cache, *of_extraction)

    def prepare(self, blobs: Blobs) -> None:
        o = self.order
        self._background = _over_white(blobs, o.background)
        if isinstance(o, ExtractionOrder):
            self.requests = [Request(self._background, o.box, o.prompt, o.seed, composite=_over_white(blobs, o.composite))]
            return
        reference = None if o.reference is None else read_image(blobs.get(o.reference), key="reference").pil()
        self.requests = [Request(self._background, o.box, o.prompt, seed, reference=reference) for seed in o.seeds]

    def draw(self, engine: Engine, on_step: OnStep, canceled: Callable[[], bool]) -> None:
        begin = time.perf_counter()
        self.drawn(engine.draw(self.requests, self.settings, on_step, canceled), engine, time.perf_counter() - begin)

    def drawn(self, generations: list[Generation], engine: Engine, seconds: float) -> None:
        """Take what was drawn, alone or as part of a batch."""
        for generation in generations:
            size = generation.layer.size
            assert (generation.layer.mode, size) == ("RGBA", self._background.size), f"layer is {generation.layer.mode} {size}"
        self._drawn, self._seconds = generations, seconds
        self._model = engine.info.name, engine.info.version

    def deliver(self, blobs: Blobs) -> Result:
        pictures = [self._stored(blobs, generation) for generation in self._drawn]
        warnings = list(dict.fromkeys(w for generation in self._drawn for w in (*generation.warnings, *warnings_of(generation.layer))))
        name, version = self._model
        return Result(
            model=name, version=version, seconds=round(self._seconds, 4), steps=self.order.steps, warnings=warnings, pictures=pictures
        )

    def _stored(self, blobs: Blobs, generation: Generation) -> Picture:
        """Two pictures are compressed at once: that is most of what there is to do, and who waits for a job waits for it."""
        layer = np.asarray(generation.layer)

        def composite() -> str:
            return blobs.put(png_bytes(composed(layer, np.asarray(self._background)), is_photograph=True))

        with ThreadPoolExecutor(1, thread_name_prefix="composite") as beside:
            composing = beside.submit(composite)
            stored = {"layer": blobs.put(png_bytes(layer))}
            if self.order.split_effects:
                stored |= {name: blobs.put(png_bytes(part)) for name, part in parts_of(layer, self.order.box).items()}
            return Picture(seed=generation.seed, composite=composing.result(), **stored)


class DocumentTask:
    """Several layers, drawn back to front, or one of them anew."""

    def __init__(self, order: DocumentOrder) -> None:
        self.order = order
        self._seconds = 0.0

    def prepare(self, blobs: Blobs) -> None:
        o = self.order
        picture = ScenePicture(read_image(blobs.get(o.background), key="background").pil(), _NOWHERE, o.background)
        layers = [_scene_layer(layer, blobs) for layer in o.layers]
        self._scene = Scene(picture, tuple(layers))
        self._before = None if o.document is None else _document(blobs, o.document)

    def draw(self, engine: Engine, on_step: OnStep, canceled: Callable[[], bool]) -> None:
        begin = time.perf_counter()
        o = self.order
        num_layers = len(o.layers) if o.redraw is None else 1
        begun: list[str] = []
        pipe = self._pipe = AsPipeline(engine, canceled)

        def told(layer: str, done: int, steps: int) -> None:
            if layer not in begun:
                begun.append(layer)
            on_step((len(begun) - 1) * steps + done, num_layers * steps, pipe.preview)

        model = {"name": engine.info.name, "version": engine.info.version}
        if o.redraw is None:
            self._stack = self._scene.draw(pipe, model=model, on_step=told)
        else:
            assert self._before is not None
            self._stack = self._scene.redraw(self._before, o.redraw, pipe, model=model, on_step=told)
        self._model = engine.info.name, engine.info.version
        self._seconds = time.perf_counter() - begin

    def deliver(self, blobs: Blobs) -> Result:
        name, version = self._model
        warnings = list(dict.fromkeys(self._pipe.warnings))
        return Result(
            model=name, version=version, seconds=round(self._seconds, 4), warnings=warnings, **stored_document(self._stack, blobs)
        )


def composed(layer: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Eq. 1 where the layer shows anything: RGB uint8, the size of the background, which is what all the rest is."""
    shown = bounding_box(layer[..., 3])
    out = background.copy()
    if shown is not None:
        place = np.s_[shown.y0 : shown.y1, shown.x0 : shown.x1]
        out[place] = composite_u8(layer[place], background[place])
    return out


def stored_document(stack: LayerStack, blobs: Blobs) -> dict[str, Any]:
    """The members of a `Result` that say what a document is."""
    from bfs_model.document import file as documents

    layers = [
        {
            "id": layer.id,
            "name": layer.name,
            "role": layer.role,
            "part": layer.part,
            "group": layer.group,
            "x": layer.x,
            "y": layer.y,
            "width": layer.width,
            "height": layer.height,
            "opacity": layer.opacity,
            "blend_mode": layer.blend_mode,
            "visible": layer.visible,
            "box": None if layer.box is None else list(layer.box),
            "prompt": layer.prompt,
            "seed": layer.seed,
        }
        for layer in stack
    ]
    document = blobs.put(documents.encode(stack, ".zip"))
    return {"document": document, "composite": blobs.put(png_bytes(stack.flatten(), is_photograph=True)), "layers": layers}


def parts_of(layer: np.ndarray, box: Any) -> dict[str, np.ndarray]:
    """Object and effects of a drawn layer, each uint8 [H, W, 4] on the whole canvas."""
    height, width = layer.shape[:2]
    stack = LayerStack(width, height)
    added = stack.add(layer, box=box)
    return {str(part.part): part.on_canvas(width, height) for part in stack.split_effects(added.id)}


def _over_white(blobs: Blobs, name: str) -> Image.Image:
    return Image.fromarray(read_image(blobs.get(name), key="background").over_white())


def _document(blobs: Blobs, name: str) -> LayerStack:
    from bfs_model.document import file as documents

    return documents.decode(blobs.get(name), shown="document", max_layer_pixels=MAX_DOCUMENT_PIXELS)


def _scene_layer(layer: Any, blobs: Blobs) -> DrawnLayer:
    from bfs_model.picture.boxes import Box

    reference = None
    if layer.reference is not None:
        reference = ScenePicture(read_image(blobs.get(layer.reference), key="reference").pil(), _NOWHERE, layer.reference)
    plain = {
        name: getattr(layer, name) for name in ("name", "prompt", "seed", "steps", "opacity", "blend_mode", "visible", "split_effects")
    }
    return DrawnLayer(box=Box(*layer.box), reference=reference, **plain)
