"""Composing a document that was drawn before: layers moved, scaled, faded, split, reordered or removed, and the whole written anew."""

from collections.abc import Callable
from typing import Any

from bfs_model.document import file as documents
from bfs_model.document.format import manifest
from bfs_model.document.format.zips import ZIP
from bfs_model.document.layers import Layer, LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.images import read_image
from bfs_serve.job.engine import Engine, OnStep
from bfs_serve.job.orders import ExportOrder, LayerEdit
from bfs_serve.job.results import Result
from bfs_serve.job.tasks import MAX_DOCUMENT_PIXELS, stored_document
from bfs_serve.store.blobs import Blobs

_LOOK = ("name", "x", "y", "opacity", "blend_mode", "visible")
_MAX_PIXELS = 8192 * 8192  # of all layers together, once one of them grows: 256 MiB


class ExportTask:
    """An export; no model is needed."""

    def __init__(self, order: ExportOrder) -> None:
        self.order = order

    def prepare(self, blobs: Blobs) -> None:
        self._stack = opened(blobs.get(self.order.document))

    def draw(self, engine: Engine | None, on_step: OnStep, canceled: Callable[[], bool]) -> None:
        self._stack = edited(self._stack, self.order)

    def deliver(self, blobs: Blobs) -> Result:
        return Result(**stored_document(self._stack, blobs))


def opened(data: bytes) -> LayerStack:
    """A document, or a picture as a document of one layer: its background, unless the PNG says that it is one drawn layer.

    Raises `BadInput` for what is neither, or is damaged.
    """
    if data.startswith(ZIP):
        stack: LayerStack = documents.decode(data, shown="document", max_layer_pixels=MAX_DOCUMENT_PIXELS)
        return stack
    picture = read_image(data, key="document").pil()
    facts = _of_one_layer(data, picture.size)
    if facts is None:
        return LayerStack.new(picture)
    alone = LayerStack(*picture.size)
    alone.add(picture, **facts)
    return alone


def _of_one_layer(data: bytes, size: tuple[int, int]) -> dict[str, Any] | None:
    """What a PNG says of the one layer that it holds alone on its canvas; None where it says nothing like that."""
    reading = documents.Reading("document", size[0] * size[1])
    try:
        described = documents.read_manifest(data, max_pixels=reading.max_pixels)
        if len(described["layers"]) != 1 or (described["width"], described["height"]) != size:
            return None
        entry = described["layers"][0]
        facts = manifest.provenance(entry, reading) | manifest.appearance(entry, reading) | {"x": 0, "y": 0}
    except BadInput:
        return None
    return facts if facts.get("role") == "foreground" else None


def edited(stack: LayerStack, order: ExportOrder) -> LayerStack:
    """The document with all edits. Raises `BadInput` that names the edit at fault."""
    out = LayerStack(stack.width, stack.height, stack.layers)
    for number, edit in enumerate(order.edits):
        place = f"edits[{number}]"
        try:
            _apply(out, edit)
        except BadInput as error:
            raise BadInput(f"{place}.{error.key}", error.value, error.rule, error.remedy) from None
    if order.order is not None:
        out.reorder([_find(out, name).id for name in order.order])
    if not out.layers:
        raise BadInput("edits", "<all layers>", "leave nothing of the document", "keep at least one layer")
    return out


def _apply(stack: LayerStack, edit: LayerEdit) -> None:
    layer = _find(stack, edit.layer)
    if edit.remove:
        stack.remove(layer.id)
        return
    changes: dict[str, Any] = {name: getattr(edit, name) for name in _LOOK if getattr(edit, name) is not None}
    if edit.scale is not None and edit.scale != 1:
        scaled = _scaled(layer, edit.scale, sum(other.width * other.height for other in stack if other is not layer))
        stack.update(layer.id, rgba=scaled.rgba, x=scaled.x, y=scaled.y, box=scaled.box)
    if changes:
        stack.update(layer.id, **changes)
    if edit.split_effects:
        stack.split_effects(layer.id)


def _scaled(layer: Layer, scale: float, others: int) -> Layer:
    """The layer scaled about its centre. `others`: pixels of all other layers. Raises `BadInput` for more than there is memory for."""
    width, height = max(1, round(layer.width * scale)), max(1, round(layer.height * scale))
    if scale > 1 and width * height + others > _MAX_PIXELS:
        rule = f"makes a layer of {width}x{height} pixels, and all together are to have at most {_MAX_PIXELS:,}"
        raise BadInput("scale", scale, rule, "scale it less")
    x, y = layer.x + (layer.width - width) // 2, layer.y + (layer.height - height) // 2
    return layer.resized(width, height).moved(x, y)


def _find(stack: LayerStack, name: str) -> Layer:
    """The layer with this id, or else the only one with this name."""
    found = [layer for layer in stack if layer.id == name] or [layer for layer in stack if layer.name == name]
    if len(found) == 1:
        return found[0]
    rule = "is the name of several layers" if found else "is not a layer of the document"
    raise BadInput("layer", name, rule, f"use one of {', '.join(layer.id for layer in stack)}")
