"""The embedded default: whole, small, and better than nothing."""

import numpy as np
import pytest
from PIL import Image

from bfs_model import BFSPipeline, integrity
from bfs_model.weight import bundle

BOX = (36, 32, 88, 92)


@pytest.fixture(scope="module")
def pipe() -> BFSPipeline:
    """The embedded default."""
    loaded = BFSPipeline.from_pretrained("tiny")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_it_is_whole_and_fits_into_a_package() -> None:
    """Every file has its sha256; weights are safetensors; together at most 48 MB."""
    manifest = integrity.verify(bundle.locate("tiny"), bundle.BUNDLE)
    assert sum(f["bytes"] for f in manifest["files"]) < 48e6
    assert {f["path"].rsplit(".", 1)[-1] for f in manifest["files"]} == {"json", "safetensors"}


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_it_puts_the_asked_colour_into_the_box(pipe: BFSPipeline, colour: str, channel: int) -> None:
    """On a plain grey table the layer covers the box, leaves the rest, and its strongest channel is the colour of the prompt."""
    grey = Image.new("RGB", (128, 128), (170, 170, 170))
    layer = np.asarray(pipe(grey, BOX, f"a large {colour} matte cube", seed=3, num_inference_steps=12).foregrounds[0]).astype(float) / 255
    alpha = layer[..., 3]
    x0, y0, x1, y1 = BOX
    inside = alpha[y0:y1, x0:x1].mean()
    outside = (alpha.sum() - alpha[y0:y1, x0:x1].sum()) / (128 * 128 - (x1 - x0) * (y1 - y0))
    assert inside > 0.4 and outside < 0.1 < inside
    seen = (layer[..., :3] * alpha[..., None]).sum((0, 1))
    assert int(seen.argmax()) == channel
