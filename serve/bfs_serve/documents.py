"""A finished job as a file: the layer itself, or a layered document made from it."""

import tempfile
from pathlib import Path

from PIL import Image

from bfs_model.compositing import composite_u8
from bfs_model.images import png_bytes, read_image
from bfs_serve.orders import Drawing, Order

SUFFIXES = {"png": ".png", "zip": ".zip", "psd": ".psd", "ora": ".ora"}


def composite_png(order: Order, drawing: Drawing) -> bytes:
    """Eq. 1 on the delivered layer and the caller's background: an RGB PNG, bit-identical to the background where alpha is 0."""
    layer = read_image(drawing.layer_png, key="layer").rgba()
    return png_bytes(composite_u8(layer, read_image(order.background, key="background").rgb))


def render(kind: str, order: Order, drawing: Drawing) -> bytes:
    """The file in the format `kind` (a key of `SUFFIXES`). Takes a while for large pictures: call it on a thread."""
    if kind == "png":
        return drawing.layer_png
    from bfs_model.layers import LayerStack

    stack = LayerStack.new(read_image(order.background, key="background").pil())
    layer = Image.fromarray(read_image(drawing.layer_png, key="layer").rgba())
    model = {"name": drawing.model.name, "version": drawing.model.version}
    steps = {} if order.steps is None else {"steps": order.steps}
    stack.add(layer, box=order.box, prompt=order.prompt, seed=drawing.seed, model=model, parameters=steps)
    with tempfile.TemporaryDirectory(prefix="bfs-") as directory:
        path = Path(directory) / f"document{SUFFIXES[kind]}"
        stack.save(path)
        return path.read_bytes()
