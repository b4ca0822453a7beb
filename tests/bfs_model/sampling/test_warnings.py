"""Warnings: what the encoders did not read, layers that show nothing, models that were never trained."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model import BFSPipeline
from bfs_model.document.scene import Scene
from bfs_model.document.scene_layer import Picture, SceneLayer
from bfs_model.picture.boxes import Box
from bfs_model.sampling.warnings import warnings_of
from bfs_model.tiny.components import random_bundle
from bfs_model.tiny.flux_fill import random_flux_fill

BOX = (4, 4, 20, 20)
BACKGROUND = np.full((41, 37, 3), 0.5, np.float32)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> BFSPipeline:
    """A bundle of random weights, whose encoders read 30 and 15 tokens of text."""
    return _quiet(BFSPipeline.from_pretrained(random_bundle(tmp_path_factory.mktemp("warnings") / "bundle")))


def _quiet(pipe: BFSPipeline) -> BFSPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_layers_that_show_nothing_or_everything() -> None:
    """One line each, from pictures and arrays alike; none for a layer that is neither."""
    layer = np.zeros((3, 5, 4), np.uint8)
    assert warnings_of(layer) == ("the layer is empty: alpha is 0 everywhere; try another seed or a larger box",)
    layer[..., 3] = 255
    assert warnings_of(Image.fromarray(layer)) == warnings_of(layer.astype(np.float32) / 255) == ("the layer is opaque everywhere",)
    layer[1, 2, 3] = 254
    assert warnings_of(layer) == ()


def test_each_image_of_a_batch_has_its_own(pipe: BFSPipeline) -> None:
    """Both encoders name the end that they did not read; a short prompt of known words says nothing of itself."""
    long = "a small red glossy plastic sphere " * 6
    prompts = [long + "with stripes", "a small red sphere", "a small red 球 sphere"]
    out = pipe(BACKGROUND, BOX, prompts, seed=1, num_inference_steps=1)
    clip, t5 = out.warnings[0]
    assert clip.startswith('CLIP reads 30 tokens of a prompt; it did not read "a small') and clip.endswith('sphere with stripes"')
    assert t5.startswith('T5 reads 15 tokens of a prompt; it did not read "glossy plastic sphere a small') and t5.endswith('with stripes"')
    assert out.warnings[1:] == [[], ['T5 has no tokens for "球"']]


def test_two_endings_that_are_not_read_draw_one_layer(pipe: BFSPipeline) -> None:
    """What the warning says is so: the layers are the same to the last bit."""
    prompts = ["a small red glossy plastic sphere " * 6 + end for end in ("with stripes", "on a table")]
    out = pipe(BACKGROUND, BOX, prompts, seed=[3, 3], num_inference_steps=1, output_type="np")
    np.testing.assert_array_equal(out.foregrounds[0], out.foregrounds[1])
    assert [w[0].endswith(end) for w, end in zip(out.warnings, ('with stripes"', 'on a table"'), strict=True)] == [True, True]


def test_layers_are_looked_at_in_every_form(pipe: BFSPipeline) -> None:
    """Pictures and arrays are; latents are not; a layer that is refitted is looked at anew."""
    black, white = np.zeros((32, 32, 3), np.float32), np.ones((32, 32, 3), np.float32)
    opaque = ["the layer is opaque everywhere"]
    for form, expected in (("pil", opaque), ("np", opaque), ("latent", [])):
        assert pipe(black, (0, 0, 32, 32), "a red cube", seed=1, num_inference_steps=1, output_type=form).warnings == [expected]
    assert pipe.extract(white, black, (0, 0, 32, 32), "a red cube", seed=1, num_inference_steps=1, refit=True).warnings == [opaque]


def test_a_folder_of_flux_reads_as_much_as_the_real_one(tmp_path: Path) -> None:
    """75 tokens of text for CLIP and 511 for T5; what draws with fresh parts of BFS says that they were never trained."""
    pipe = _quiet(BFSPipeline.from_pretrained(random_flux_fill(tmp_path / "fill"), accept_flux_licence=True, window_size=64))
    assert pipe.unread("red " * 75) == ()
    (clip,) = pipe.unread("red " * 75 + "cube")
    assert (clip.encoder, clip.num_tokens, clip.dropped) == ("CLIP", 75, "cube")
    assert [(u.encoder, u.num_tokens, u.dropped[-4:]) for u in pipe.unread("red " * 511 + "cube")] == [
        ("CLIP", 75, "cube"),
        ("T5", 511, "cube"),
    ]
    known = pipe(BACKGROUND, BOX, "a red cube", seed=1, num_inference_steps=1).warnings[0]
    assert known[0] == "this model draws with parts that were never trained: sharing, rgba_vae"


def test_layers_of_a_scene_keep_their_warnings(pipe: BFSPipeline) -> None:
    """They stand in the document, with the layer that they are about, and only there."""
    background = Picture(Image.new("RGB", (41, 37), "gray"), Path("room.png"), "room.png")
    prompts = ["a small red sphere", "a small red sphere " * 9 + "with stripes"]
    layers = tuple(SceneLayer(name=name, box=Box(*BOX), prompt=p, seed=1, steps=1) for name, p in zip("ab", prompts, strict=True))
    stack = Scene(background, layers).draw(pipe)
    assert "warnings" not in stack["a"].parameters
    assert any(line.startswith("CLIP reads") and "with stripes" in line for line in stack["b"].parameters["warnings"])
