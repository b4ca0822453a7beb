"""A stand-in for a model: for trying evaluation, gates and reports without weights."""

import numpy as np
from PIL import Image, ImageDraw

from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.system.models import Box4, Drawn


class FakeDisc:
    """Draws a disc into the box and a weak shadow strip below it; the seed gives the colour. No model of anything."""

    def draw(self, background: Image.Image, box: Box4, prompt: str, seed: int, steps: int | None) -> Drawn:
        """Draw the disc. Raises `ValueError` for the prompt "fail", so that failures can be tried too."""
        if prompt == "fail":
            raise ValueError("the fake was asked to fail")
        x0, y0, x1, y1 = box
        colour = tuple(int(v) for v in np.random.default_rng(seed).integers(64, 256, 3))
        layer = Image.new("RGBA", background.size)
        pen = ImageDraw.Draw(layer)
        pen.rectangle((x0, y1, x1 - 1, y1 + 2), fill=(0, 0, 0, 64))
        pen.ellipse((x0, y0, x1 - 1, y1 - 1), fill=(*colour, 255))
        composite = composite_u8(np.asarray(layer), np.asarray(background.convert("RGB")))
        return Drawn(layer, Image.fromarray(composite))


def load_fake_disc(model: str) -> FakeDisc:
    """Loader for `--set loader=bfs_platform.evaluate.system.fakes:load_fake_disc`; which model was named does not matter to it."""
    return FakeDisc()
