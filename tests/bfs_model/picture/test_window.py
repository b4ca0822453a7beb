"""The window: what the model sees of a picture, and how its layer comes back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture import canvas
from bfs_model.picture import window as window_module
from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import to_float
from bfs_model.picture.window import Window

SIZES = st.sampled_from([8, 16, 48, 64])
SIDES = st.one_of(st.integers(1, 40), st.integers(40, 300), st.sampled_from([8, 16, 48, 64, 1000, 3000]))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Box]:
    """Any picture up to a quarter of a megapixel, any box in it, several model sizes."""
    width = draw(SIDES)
    height = draw(SIDES.filter(lambda h: h * width <= 300_000))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))
    context = draw(st.sampled_from([0.2, window_module.BOX_SHARE, 1.0]))
    return Window.around(box, width, height, size=draw(SIZES), context=context), box


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_layer(size: int, seed: int) -> np.ndarray:
    """Colours everywhere; alpha clear, faint, full and in between, in patches."""
    rng = np.random.default_rng(seed)
    layer = rng.random((size, size, 4), dtype=np.float32)
    kinds = rng.integers(0, 4, (size, size))
    layer[..., 3] = np.select([kinds == 0, kinds == 1, kinds == 2], [0, layer[..., 3] / 400, 1], layer[..., 3])
    layer[: size // 2, :, 3] = 0
    return layer


@settings(deadline=None, derandomize=True, max_examples=150)
@given(windows())
def test_the_box_is_inside_the_window_and_keeps_its_place(case: tuple[Window, Box]) -> None:
    """At least one pixel, inside, and within one window pixel (or one picture pixel) of where the box lies."""
    window, box = case
    window.box.within(window.size, window.size)
    scale = window.size / window.side
    exact = [(box.x0 - window.x) * scale, (box.y0 - window.y) * scale, (box.x1 - window.x) * scale, (box.y1 - window.y) * scale]
    assert np.abs(np.array(list(window.box)) - exact).max() <= 1.5
    # The whole box is in sight.
    assert window.x <= box.x0
    assert window.y <= box.y0
    assert box.x1 <= window.x + window.side
    assert box.y1 <= window.y + window.side


@settings(deadline=None, derandomize=True, max_examples=150)
@given(windows())
def test_the_crop_shows_the_picture(case: tuple[Window, Box]) -> None:
    """Right shape, finite, inside [0, 1]; a picture of one colour stays that colour, padding included."""
    window, _ = case
    crop = window.crop(picture(window.image_width, window.image_height))
    assert crop.shape == (window.size, window.size, 3)
    assert crop.dtype == np.float32
    assert crop.min() >= 0
    assert crop.max() <= 1
    flat = np.full((window.image_height, window.image_width, 3), [10, 128, 255], np.uint8)
    np.testing.assert_allclose(window.crop(flat), np.broadcast_to(to_float(np.array([10, 128, 255], np.uint8)), crop.shape), atol=1e-5)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(windows(), st.integers(0, 2**32 - 1))
def test_the_background_is_bit_identical_wherever_alpha_is_zero(case: tuple[Window, Box], seed: int) -> None:
    """For any size and box: outside the window and under every clear pixel nothing changes, and faint alphas are clear."""
    window, _ = case
    background = picture(window.image_width, window.image_height)
    layer = random_layer(window.size, seed)
    placed = window.place_u8(layer)
    as_float = window.place(layer)
    assert placed.shape == (window.image_height, window.image_width, 4)
    composite = composite_u8(placed, background)
    clear = as_float[..., 3] == 0
    assert np.array_equal(composite[clear], background[clear])
    assert (placed[clear] == 0).all()
    assert not ((as_float[..., 3] > 0) & (as_float[..., 3] < window_module.INVISIBLE)).any()
    outside = np.ones(clear.shape, bool)
    outside[max(window.y, 0) : max(window.y + window.side, 0), max(window.x, 0) : max(window.x + window.side, 0)] = False
    assert clear[outside].all()
    np.testing.assert_array_equal(placed, np.rint(as_float * 255).astype(np.uint8))


@settings(deadline=None, derandomize=True, max_examples=80)
@given(windows())
def test_crop_and_place_agree_on_where_things_are(case: tuple[Window, Box]) -> None:
    """A layer painted where the window shows a ramp comes back at the ramp's own place."""
    window, _ = case
    columns = np.arange(window.image_width, dtype=np.float32) / max(window.image_width, 2)
    ramp = np.broadcast_to(columns[None, :, None], (window.image_height, window.image_width, 3))
    layer = np.dstack([window.crop(ramp), np.ones((window.size, window.size), np.float32)])
    placed = window.place(layer)
    step = max(window.side / window.size, 1)
    margin = int(3 * step) + 2  # the edge of the picture is replicated, so the ramp bends there
    x0, x1 = max(window.x, 0) + margin, min(window.x + window.side, window.image_width) - margin
    y = (max(window.y, 0) + min(window.y + window.side, window.image_height)) // 2
    if x0 < x1:
        assert np.abs(placed[y, x0:x1, 0] - columns[x0:x1]).max() * max(window.image_width, 2) <= 0.75 * step


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 20), (20, 64), (33, 47), (1, 1)])
def test_a_picture_that_fits_is_never_resampled(width: int, height: int) -> None:
    """It is taken whole, pixel for pixel, on the way in and out, wherever the box is."""
    background = picture(width, height)
    layer = random_layer(64, 1)
    window = Window.around(Box(0, 0, 1, 1), width, height, size=64)
    x, y = -window.x, -window.y
    assert np.array_equal(window.crop(background)[y : y + height, x : x + width], to_float(background))
    kept = np.where(layer[..., 3:] < window_module.INVISIBLE, 0, layer)
    assert np.array_equal(window.place(layer), kept[y : y + height, x : x + width])
    if (width, height) == (64, 64):
        assert (window.x, window.y, window.side) == (0, 0, 64)
        assert window.box == Box(0, 0, 1, 1)


def test_beyond_the_picture_its_edge_is_repeated() -> None:
    """The model sees no invented black border."""
    background = picture(5, 3)
    crop = Window.around(Box(1, 1, 2, 2), 5, 3, size=8).crop(background)
    expected = to_float(np.pad(background, ((3, 2), (2, 1), (0, 0)), mode="edge"))
    assert np.array_equal(crop, expected)


def test_the_box_takes_its_share_of_the_window() -> None:
    """A 90 pixel box in a photograph leaves more than half of the side for shadow and surroundings, and is centred."""
    window = Window.around(Box(1000, 700, 1090, 760), 3000, 2000, size=64)
    assert window.side == 200
    assert window.box.width / 64 == pytest.approx(0.45, abs=1 / 64)
    assert abs(window.box.x0 + window.box.x1 - 64) <= 1
    assert abs(window.box.y0 + window.box.y1 - 64) <= 1


def test_a_window_at_the_border_moves_into_the_picture() -> None:
    """Real surroundings are worth more than repeated edges."""
    window = Window.around(Box(2990, 0, 3000, 10), 3000, 2000, size=64)
    assert window.x + window.side == 3000
    assert window.y == 0


def test_a_tiny_box_is_enlarged_no_more_than_four_times() -> None:
    """Around one pixel the model still sees a piece of the picture."""
    assert Window.around(Box(500, 500, 501, 501), 1000, 1000, size=64).side == 16


@pytest.mark.parametrize(("width", "height"), [(20_000, 50), (50, 20_000), (1, 5000), (5000, 1)])
def test_extreme_aspects(width: int, height: int) -> None:
    """A panorama wide as a window of 20,000 pixels costs no 20,000 × 20,000 picture."""
    background = picture(width, height)
    for box in (Box(0, 0, width, height), Box(width - 1, height - 1, width, height)):
        window = Window.around(box, width, height, size=64)
        assert window.crop(background).shape == (64, 64, 3)
        layer = np.ones((64, 64, 4), np.float32)
        placed = window.place_u8(layer)
        assert placed.shape == (height, width, 4)
        assert placed[box.y0, box.x0].tolist() == [255] * 4


def test_large_layers_are_placed_in_bands_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bands save memory and change nothing: whole and fractional factors, up and down."""
    layer = random_layer(48, 2)
    for side in (20, 96, 100, 333):
        window = Window(400, 400, 48, 7, 11, side, Box(0, 0, 1, 1))
        whole = window.place(layer)
        with monkeypatch.context() as patched:
            patched.setattr(window_module, "BAND_PIXELS", 3 * side)
            banded = window.place(layer)
        np.testing.assert_allclose(banded, whole, atol=2e-4)  # a twentieth of a level


def test_faint_alpha_is_no_alpha() -> None:
    """What 8 bits cannot show must not touch the background in any other depth either."""
    layer = np.zeros((8, 8, 4), np.float32)
    layer[..., :3] = 0.5
    layer[0, 0, 3], layer[0, 1, 3] = 0.9 / 512, 1.1 / 512
    placed = Window.around(Box(0, 0, 8, 8), 8, 8, size=8).place(layer)
    assert placed[0, 0].tolist() == [0, 0, 0, 0]
    assert placed[0, 1, 3] > 0


def test_hidden_colours_do_not_leak_when_the_layer_is_scaled() -> None:
    """Green under alpha 0 never shows at the edge of a red object."""
    layer = np.zeros((16, 16, 4), np.float32)
    layer[..., 1] = 1
    layer[5:11, 5:11] = [1, 0, 0, 1]
    for side in (9, 50):
        placed = Window(100, 100, 16, 20, 20, side, Box(0, 0, 1, 1)).place(layer)
        assert placed[placed[..., 3] > 0.01][:, 1].max() < 1e-4


def test_impossible_requests_are_refused() -> None:
    """A box outside the picture and a window of no size name their fault."""
    with pytest.raises(BadInput, match="leaves the image"):
        Window.around(Box(0, 0, 11, 5), 10, 10, size=64)
    for size, context in ((0, 0.45), (64, 0.0), (64, 1.5)):
        with pytest.raises(BadInput, match="is not a window"):
            Window.around(Box(0, 0, 1, 1), 10, 10, size=size, context=context)


def test_a_background_of_another_size_is_our_own_mistake() -> None:
    """The window belongs to one picture."""
    window = Window.around(Box(0, 0, 1, 1), 10, 10, size=8)
    with pytest.raises(AssertionError, match="another size"):
        window.crop(picture(11, 10))
    with pytest.raises(AssertionError, match="expected 8x8x4"):
        window.place(np.zeros((9, 8, 4), np.float32))


@pytest.mark.parametrize(("width", "height"), [(640, 320), (37, 53), (64, 64)])
def test_a_preview_is_the_placed_layer_made_small(width: int, height: int) -> None:
    """On a canvas of the picture's shape, where the layer itself would lie."""
    window = Window.around(Box(width // 4, height // 4, width // 2, height // 2), width, height, size=16)
    rows, columns = np.mgrid[:16, :16]
    layer = np.zeros((16, 16, 4), np.float32)
    layer[(rows - 8) ** 2 + (columns - 8) ** 2 < 25] = (1.0, 0.5, 0.25, 1.0)
    shown = canvas.preview(window, layer, 64)
    whole = Image.fromarray(window.place_u8(layer)).resize(shown.size, Image.Resampling.BOX)
    assert max(shown.size) == min(64, max(width, height))
    assert np.abs(np.asarray(shown).astype(int)[..., 3] - np.asarray(whole).astype(int)[..., 3]).mean() < 12


def test_a_preview_of_a_tiny_picture_is_tiny() -> None:
    """Not enlarged: the window around it would become as many times as large."""
    window = Window.around(Box(0, 0, 1, 1), 1, 1, size=64)
    assert canvas.preview(window, np.ones((64, 64, 4), np.float32), 256).size == (1, 1)
