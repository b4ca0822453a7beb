"""Pictures of every size, shape and kind through the real pipeline, untrained and small: what the model says does not matter here."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from bfs_model import BFSPipeline, LayerStack
from bfs_model.picture.compositing import composite_u8
from bfs_model.tiny.components import random_bundle


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> BFSPipeline:
    """An untrained pipeline of the real classes that works on 32×32."""
    loaded = BFSPipeline.from_pretrained(random_bundle(tmp_path_factory.mktemp("any") / "bundle"))
    loaded.set_progress_bar_config(disable=True)
    return loaded


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, channels), np.uint8)


def sixteen_bit(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width, 1]).integers(0, 65536, (height, width)).astype(np.uint16)


KINDS = {
    "png": lambda h, w: encoded(Image.fromarray(noise(h, w)), "PNG"),
    "jpeg": lambda h, w: encoded(Image.fromarray(noise(h, w)), "JPEG"),
    "webp": lambda h, w: encoded(Image.fromarray(noise(h, w)), "WEBP", lossless=True),
    "tiff": lambda h, w: encoded(Image.fromarray(noise(h, w)), "TIFF"),
    "png with alpha": lambda h, w: encoded(Image.fromarray(noise(h, w, 4)), "PNG"),
    "grey": lambda h, w: encoded(Image.fromarray(noise(h, w)[..., 0]), "PNG"),
    "bitmap": lambda h, w: encoded(Image.fromarray(noise(h, w)[..., 0]).convert("1"), "PNG"),
    "palette": lambda h, w: encoded(Image.fromarray(noise(h, w)).quantize(16), "PNG"),
    "16 bit png": lambda h, w: encoded(Image.fromarray(sixteen_bit(h, w)), "PNG"),
    "16 bit tiff": lambda h, w: encoded(Image.fromarray(sixteen_bit(h, w)), "TIFF"),
    "cmyk jpeg": lambda h, w: encoded(Image.fromarray(noise(h, w, 4), "CMYK"), "JPEG"),
    "cmyk tiff": lambda h, w: encoded(Image.fromarray(noise(h, w, 4), "CMYK"), "TIFF"),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, tuple[int, int, int, int], str]:
    """Width, height, a box inside, and the kind of file. Sides from 1 to beyond the model's, every aspect."""
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))
    return width, height, box, draw(st.sampled_from(sorted(KINDS)))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_the_background_is_bit_identical_wherever_alpha_is_zero(
    pipe: BFSPipeline, case: tuple[int, int, tuple[int, int, int, int], str]
) -> None:
    """Whatever the size, the box and the kind of file: the layer is as large as the picture, and Eq. 1 is all that happens to it."""
    width, height, box, kind = case
    data = KINDS[kind](height, width)
    from bfs_model.picture.images import read_image

    expected = read_image(data)
    out = pipe(data, box, "a red cube", seed=1, num_inference_steps=1)
    layer, composite = np.asarray(out.foregrounds[0]), np.asarray(out.composites[0])
    assert layer.shape == (height, width, 4) and composite.shape == (height, width, 3)
    clear = layer[..., 3] == 0
    assert np.array_equal(composite[clear], expected.over_white()[clear])
    assert np.array_equal(composite, composite_u8(layer, expected.over_white()))
    stack = LayerStack.new(expected.pil())
    stack.add(out.foregrounds[0])
    assert np.array_equal(stack.layers[0].rgba, expected.rgba()), "the document holds the background as it came"


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 500), (7680, 24), (16, 4320)])
def test_extreme_shapes(pipe: BFSPipeline, size: tuple[int, int]) -> None:
    """One pixel's width or height, and the sides of an 8K picture, with a box at either end."""
    width, height = size
    picture = Image.fromarray(noise(height, width))
    for box in ((0, 0, max(width // 9, 1), max(height // 9, 1)), (width - max(width // 9, 1), height - max(height // 9, 1), width, height)):
        out = pipe(picture, box, "x", seed=2, num_inference_steps=1)
        layer = np.asarray(out.foregrounds[0])
        clear = layer[..., 3] == 0
        assert layer.shape == (height, width, 4) and np.array_equal(np.asarray(out.composites[0])[clear], noise(height, width)[clear])


def test_a_turned_photograph_is_drawn_upright(pipe: BFSPipeline, tmp_path: Path) -> None:
    """EXIF orientation 6, as a file and as an opened PIL image: box and layer are in the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "TIFF"):
        path = tmp_path / f"turned.{kind.lower()}"
        Image.fromarray(noise(20, 50)).save(path, kind, exif=exif)
        for source in (path, path.read_bytes(), Image.open(path)):
            out = pipe(source, (0, 30, 20, 50), "x", seed=1, num_inference_steps=1)
            assert out.foregrounds[0].size == (20, 50)


def test_a_profile_is_applied_and_dropped(pipe: BFSPipeline) -> None:
    """A picture that carries one of the many sRGB profiles gives what the bare one gives, and no metadata travels into the layer."""
    lab = ImageCms.createProfile("sRGB")
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    picture = Image.fromarray(noise(30, 40))
    plain = pipe(picture, (5, 5, 30, 25), "x", seed=1, num_inference_steps=1)
    tagged = pipe(encoded(picture, "PNG", icc_profile=profile), (5, 5, 30, 25), "x", seed=1, num_inference_steps=1)
    assert np.array_equal(np.asarray(plain.composites[0]), np.asarray(tagged.composites[0]))
    assert tagged.foregrounds[0].info == {}


def test_hidden_colours_of_a_background_are_never_seen(pipe: BFSPipeline) -> None:
    """Two pictures that differ under alpha 0 only give the same layer and the same composite, over white."""
    one, two = noise(30, 40, 4), noise(30, 40, 4)
    one[8:20, 10:30, 3] = two[8:20, 10:30, 3] = 0
    two[8:20, 10:30, :3] = 255 - two[8:20, 10:30, :3]
    outs = [pipe(Image.fromarray(p), (5, 5, 30, 25), "x", seed=1, num_inference_steps=1) for p in (one, two)]
    assert outs[0].foregrounds[0].tobytes() == outs[1].foregrounds[0].tobytes()
    assert outs[0].composites[0].tobytes() == outs[1].composites[0].tobytes()


def test_residual_alpha_is_none(pipe: BFSPipeline) -> None:
    """What the decoder leaves below `alpha_floor` is 0 in the layer, so documents crop it away; above, alpha still reaches 1."""
    floor = pipe.config.alpha_floor
    decoder = pipe.rgba_vae.decode

    def faint(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        out = decoder(latents, *args, **kwargs)
        sample = out[0] if isinstance(out, tuple) else out.sample
        sample[:, 3] = -1 + 2 * 0.9 * floor
        sample[:, 3, 8:12, 8:12] = 1
        return out

    pipe.rgba_vae.decode = faint
    try:
        layer = pipe(Image.fromarray(noise(32, 32)), (4, 4, 20, 20), "x", seed=1, num_inference_steps=1).foregrounds[0]
    finally:
        del pipe.rgba_vae.decode
    alpha = np.asarray(layer)[..., 3]
    assert (alpha[8:12, 8:12] == 255).all() and alpha.astype(bool).sum() == 16
    stack = LayerStack(32, 32)
    assert (stack.add(layer).width, stack.layers[0].x) == (4, 8)
