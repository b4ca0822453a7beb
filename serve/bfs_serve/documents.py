"""A finished job as a file: the layer itself, or a layered document made from it."""

from typing import TYPE_CHECKING

from bfs_model.compositing import composite_u8
from bfs_model.images import png_bytes, read_image
from bfs_serve.orders import Drawing, Order

if TYPE_CHECKING:
    from bfs_model.layers import LayerStack

SUFFIXES = {"png": ".png", "zip": ".zip", "psd": ".psd", "ora": ".ora"}


def composite_png(order: Order, drawing: Drawing) -> bytes:
    """Eq. 1 on the delivered layer and the caller's background: an RGB PNG, bit-identical to the background where alpha is 0."""
    layer = read_image(drawing.layer_png, key="layer").rgba()
    return png_bytes(composite_u8(layer, read_image(order.background, key="background").over_white()))


def parts_png(order: Order, drawing: Drawing) -> dict[str, bytes]:
    """Object and effects of the layer, each an RGBA PNG of full canvas size, by the name of the part; nothing unless ordered."""
    parts = [layer for layer in _stack(order, drawing) if layer.part is not None]
    return {str(layer.part): png_bytes(layer.on_canvas(order.width, order.height)) for layer in parts}


def render(kind: str, order: Order, drawing: Drawing) -> bytes:
    """The file in the format `kind` (a key of `SUFFIXES`). Takes a while for large pictures: call it on a thread.

    A PNG holds one picture: the whole layer, also where object and effects were ordered apart.
    """
    if kind == "png":
        return drawing.layer_png
    from bfs_model import documents

    return documents.encode(_stack(order, drawing), SUFFIXES[kind])


def _stack(order: Order, drawing: Drawing) -> "LayerStack":
    from bfs_model.layers import LayerStack

    stack = LayerStack.new(read_image(order.background, key="background").pil())
    model = {"name": drawing.model.name, "version": drawing.model.version}
    steps = {} if order.steps is None else {"steps": order.steps}
    layer = read_image(drawing.layer_png, key="layer").pil()
    added = stack.add(layer, box=order.box, prompt=order.prompt or None, seed=drawing.seed, model=model, parameters=steps)
    if order.split_effects:
        stack.split_effects(added.id)
    return stack
