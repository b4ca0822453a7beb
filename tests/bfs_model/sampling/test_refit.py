"""Layers that explain a known picture."""

import io

import numpy as np
import pytest
from PIL import Image

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import png_bytes
from bfs_model.sampling.refit import least_alpha, refit, solve_foreground
from bfs_model.tiny.components import random_bundle


def test_the_least_alpha_of_shadows_and_lights() -> None:
    """By hand: a quarter of the light gone, half of the way to white, nothing changed, black turned white."""
    background = np.array([[[200, 100, 40], [55, 55, 55], [9, 8, 7], [0, 0, 0]]], np.uint8)
    composite = np.array([[[150, 75, 30], [155, 55, 55], [9, 8, 7], [255, 255, 255]]], np.uint8)
    assert np.allclose(least_alpha(composite, background), [[0.25, 0.5, 0, 1]], atol=1 / 255)


def test_what_is_visible_explains_the_picture_and_nothing_else_appears() -> None:
    """Any layer, any pictures: within a level where it shows anything, empty where it was empty; alpha only rises."""
    random = np.random.default_rng(0)
    layer, composite, background = (random.integers(0, 256, (31, 37, n), np.uint8) for n in (4, 3, 3))
    layer[random.random((31, 37)) < 0.4, 3] = 0
    fitted = refit(layer, composite, background)
    shown = layer[..., 3] > 0
    assert np.abs(composite_u8(fitted, background).astype(int) - composite)[shown].max() <= 1
    assert not fitted[~shown, 3].any() and (fitted[..., 3] >= layer[..., 3]).all()


def test_an_alpha_that_is_high_enough_is_kept() -> None:
    """The object stays opaque, its colour becomes the picture's own."""
    composite, background = np.full((2, 2, 3), 90, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert (refit(np.full((2, 2, 4), [1, 2, 3, 255], np.uint8), composite, background) == [90, 90, 90, 255]).all()
    assert (solve_foreground(composite, background, np.full((2, 2), 0.8))[..., 3] == 204).all()


def test_extraction_refits_on_request(tmp_path) -> None:
    """Through the pipeline, for one picture and for two; other outputs than PIL are refused."""
    pipe = BFSPipeline.from_pretrained(random_bundle(tmp_path / "bundle"))
    pipe.set_progress_bar_config(disable=True)
    random = np.random.default_rng(1)
    composite, background = (Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(2))
    settings = {"seed": 1, "num_inference_steps": 1, "refit": True}
    out = pipe.extract(composite, background, (5, 5, 40, 30), "x", **settings)
    layer = np.asarray(out.foregrounds[0])
    shown = layer[..., 3] > 0
    picture = np.asarray(out.composites[0])
    assert shown.any() and np.abs(picture.astype(int) - np.asarray(composite))[shown].max() <= 1
    assert np.array_equal(picture, composite_u8(layer, np.asarray(background)))
    two = pipe.extract([composite] * 2, [background] * 2, [(5, 5, 40, 30)] * 2, ["x", "x"], **settings | {"seed": [1, 2]})
    for foreground, flat in zip(two.foregrounds, two.composites, strict=True):
        visible = np.asarray(foreground)[..., 3] > 0
        assert np.abs(np.asarray(flat).astype(int) - np.asarray(composite))[visible].max() <= 1
    streams = [io.BytesIO(png_bytes(picture)) for picture in (composite, background)]
    again = pipe.extract(*streams, (5, 5, 40, 30), "x", **settings)
    assert np.array_equal(np.asarray(again.foregrounds[0]), layer), "streams can be read once"
    with pytest.raises(BadInput, match="output_type=pil"):
        pipe.extract(composite, background, (5, 5, 40, 30), "x", output_type="np", **settings)
