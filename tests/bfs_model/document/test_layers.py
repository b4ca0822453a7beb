"""Layers and stacks: what is kept of a layer, and what they look like together."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.document import layers as layers_module
from bfs_model.document.layer import NAME_LENGTH, Layer
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.blending import blend
from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import to_float, to_u8

RNG = np.random.default_rng(21)
BACKGROUND = RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8)


def foreground() -> np.ndarray:
    layer = np.zeros((23, 31, 4), np.uint8)
    layer[5:17, 7:29] = RNG.integers(0, 256, (12, 22, 4))
    layer[5, 7, 3] = layer[16, 28, 3] = 255
    return layer


def solid(value: int, side: int = 4, alpha: int = 255) -> np.ndarray:
    return np.full((side, side, 4), [value, value, value, alpha], np.uint8)


IMPOSSIBLE: dict[str, tuple[str, Callable[[LayerStack], object]]] = {
    "id taken": ("id", lambda s: s.add(solid(1), id="background")),
    "update of nobody": ("layer", lambda s: s.update("nobody", x=1)),
    "removal of nobody": ("layer", lambda s: s.remove("nobody")),
    "order that forgets": ("order", lambda s: s.reorder([])),
    "order that repeats": ("order", lambda s: s.reorder(["background", "background"])),
    "opacity above one": ("opacity", lambda s: s.add(solid(1), opacity=1.1)),
    "opacity NaN": ("opacity", lambda s: s.update("background", opacity=float("nan"))),
    "unknown blend mode": ("blend_mode", lambda s: s.add(solid(1), blend_mode="dodge")),
    "unknown role": ("role", lambda s: s.add(solid(1), role="middle")),
    "box reversed": ("box", lambda s: s.add(solid(1), box=(5, 5, 1, 1))),
    "object as parameter": ("parameters", lambda s: s.add(solid(1), parameters={"a": object()})),
    "infinity as parameter": ("parameters", lambda s: s.add(solid(1), parameters={"a": float("inf")})),
    "model not JSON": ("model", lambda s: s.add(solid(1), model={"a": {1, 2}})),
    "seed of 1.5": ("seed", lambda s: s.add(solid(1), seed=1.5)),
    "x of 1.5": ("x", lambda s: s.update("background", x=1.5)),
    "y beyond any file": ("y", lambda s: s.add(solid(1), y=2**31)),
    "name by number": ("name", lambda s: s.add(solid(1), 5)),
    "prompt by number": ("prompt", lambda s: s.add(solid(1), "n", prompt=5)),
    "visible by number": ("visible", lambda s: s.add(solid(1), visible=1)),
    "opacity in words": ("opacity", lambda s: s.add(solid(1), opacity="half")),
    "16-bit pixels": ("layer", lambda s: s.add(np.zeros((2, 2, 4), np.uint16))),
    "no canvas": ("size", lambda s: LayerStack(0, 5)),
}


class TestFlatten:
    """What everybody sees."""

    def test_one_layer_over_a_background_is_eq_1(self) -> None:
        """Bit for bit what `composite_u8` computes, on odd sizes and through bands."""
        layer = foreground()
        stack = LayerStack.new(BACKGROUND)
        stack.add(layer)
        flat = stack.flatten()
        assert flat.mode == "RGB"
        assert np.array_equal(np.asarray(flat), composite_u8(layer, BACKGROUND))

    def test_bands_leave_no_seam(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Row by row gives the same picture."""
        stack = LayerStack.new(BACKGROUND)
        stack.add(foreground(), opacity=0.3, blend_mode="multiply")
        whole = np.asarray(stack.flatten())
        monkeypatch.setattr(layers_module, "BAND_PIXELS", 1)
        assert np.array_equal(np.asarray(stack.flatten()), whole)

    def test_several_layers_are_rounded_once(self) -> None:
        """Ten faint layers equal the float computation, not ten roundings."""
        stack = LayerStack.new(np.full((1, 1, 3), 100, np.uint8))
        expected = np.array([[[100 / 255] * 3 + [1]]], np.float32)
        for _ in range(10):
            stack.add(solid(255, 1, 3))
            expected = blend(to_float(solid(255, 1, 3)), expected)
        assert np.asarray(stack.flatten()).tolist() == to_u8(expected)[..., :3].tolist()

    def test_offsets_are_clipped_at_every_edge(self) -> None:
        """Layers reach over the canvas on all sides, or lie wholly outside."""
        stack = LayerStack(6, 6)
        stack.add(solid(10), x=-2, y=-2)
        stack.add(solid(20), x=4, y=4)
        stack.add(solid(30), x=-2, y=4)
        stack.add(solid(40), x=60, y=-80)
        alpha = np.asarray(stack.flatten())[..., 3]
        expected = np.zeros((6, 6))
        expected[:2, :2] = expected[4:, 4:] = expected[4:, :2] = 255
        assert np.array_equal(alpha, expected)
        assert np.array_equal(stack.layers[0].on_canvas(6, 6)[:2, :2], solid(10)[2:, 2:])
        assert not stack.layers[3].on_canvas(6, 6).any()

    def test_hidden_layers_and_transparency(self) -> None:
        """A hidden layer is not there; without an opaque back the result keeps its alpha."""
        stack = LayerStack(4, 4)
        stack.add(solid(200, alpha=128))
        stack.add(solid(0), visible=False)
        flat = stack.flatten()
        assert flat.mode == "RGBA"
        assert flat.getpixel((1, 1)) == (200, 200, 200, 128)

    def test_order_is_bottom_to_top(self) -> None:
        """The last layer added covers the others, and reordering shows."""
        stack = LayerStack.new(np.zeros((4, 4, 3), np.uint8))
        stack.add(solid(10), id="ten")
        stack.add(solid(20), id="twenty")
        assert stack.flatten().getpixel((0, 0)) == (20, 20, 20)
        stack.reorder(["background", "twenty", "ten"])
        assert stack.flatten().getpixel((0, 0)) == (10, 10, 10)
        stack.add(solid(30), index=1)
        assert [layer.id for layer in stack] == ["background", "layer-1", "twenty", "ten"]

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
    def test_the_background_shows_unchanged_wherever_no_layer_is(self, x: int, y: int, width: int, height: int, opacity: float) -> None:
        """For layers of any size at any place: bit-identical outside and under alpha 0."""
        layer = np.random.default_rng([width, height]).integers(0, 256, (height, width, 4), dtype=np.uint8)
        layer[..., 3] *= (layer[..., 0] > 128).astype(np.uint8)
        stack = LayerStack.new(BACKGROUND)
        stack.add(layer, x=x, y=y, opacity=opacity)
        covered = np.zeros((23, 31), bool)
        for row, column in np.argwhere(layer[..., 3] > 0):
            if 0 <= row + y < 23 and 0 <= column + x < 31:
                covered[row + y, column + x] = True
        flat = np.asarray(stack.flatten())
        assert np.array_equal(flat[~covered], BACKGROUND[~covered])


class TestLayers:
    """What a layer holds."""

    def test_a_layer_is_cut_to_its_visible_pixels(self) -> None:
        """Smaller files, and editors show a tight frame; on the canvas it is where it was."""
        pixels = foreground()
        layer = LayerStack.new(BACKGROUND).add(pixels)
        assert (layer.x, layer.y, layer.width, layer.height) == (7, 5, 22, 12)
        back = layer.on_canvas(31, 23)
        assert np.array_equal(back[..., 3], pixels[..., 3])
        seen = pixels[..., 3] > 0
        assert np.array_equal(back[seen], pixels[seen])

    def test_colours_are_spread_under_alpha_zero(self) -> None:
        """No dark or green fringe when an editor scales the layer."""
        pixels = np.zeros((9, 9, 4), np.uint8)
        pixels[..., 1] = 255
        pixels[2, 2] = pixels[6, 6] = [200, 10, 10, 255]
        layer = LayerStack(9, 9).add(pixels)
        assert (layer.rgba[..., 0] == 200).all()
        assert (layer.rgba[..., 1] == 10).all()

    def test_a_layer_without_a_visible_pixel(self) -> None:
        """It stays a layer: one clear pixel where it was asked for."""
        stack = LayerStack.new(BACKGROUND)
        layer = stack.add(np.zeros((23, 31, 4), np.uint8), box=(3, 4, 9, 9))
        assert (layer.x, layer.y, layer.width, layer.height) == (3, 4, 1, 1)
        assert np.array_equal(np.asarray(stack.flatten()), BACKGROUND)

    def test_the_background_is_kept_whole(self) -> None:
        """Size, transparency and role."""
        rgba = np.dstack([BACKGROUND, np.zeros((23, 31), np.uint8)])
        stack = LayerStack.new(rgba)
        assert (stack.width, stack.height, len(stack)) == (31, 23, 1)
        assert stack["background"].role == "background"
        assert np.array_equal(stack["background"].rgba, rgba)

    def test_a_stack_does_not_share_memory_with_its_sources(self) -> None:
        """Changing the caller's array later changes no document."""
        background, layer = np.dstack([BACKGROUND, np.full((23, 31), 255, np.uint8)]), solid(7)
        stack = LayerStack.new(background)
        stack.add(layer)
        background[:], layer[:] = 0, 0
        assert np.array_equal(stack["background"].rgba[..., :3], BACKGROUND)
        assert (stack["layer-1"].rgba[..., 0] == 7).all()

    def test_pil_images_of_any_mode(self) -> None:
        """A grey image with alpha and an RGB one are layers too."""
        stack = LayerStack.new(Image.new("L", (5, 4), 77))
        layer = stack.add(Image.new("LA", (5, 4), (10, 128)))
        assert stack["background"].rgba[0, 0].tolist() == [77, 77, 77, 255]
        assert layer.rgba[0, 0].tolist() == [10, 10, 10, 128]

    def test_names(self) -> None:
        """The prompt names the layer; control characters and lone surrogates, which files cannot hold, go; so does length."""
        stack = LayerStack(4, 4)
        assert stack.add(solid(1), prompt="a red ball").name == "a red ball"
        assert stack.add(solid(1)).name == "Layer"
        assert stack.add(solid(1), "a\n\tb\0\x1b c\ud800 赤い球 🔴\uffff").name == "a b c? 赤い球 🔴"
        assert len(stack.add(solid(1), "é" * 999).name) == NAME_LENGTH
        assert stack.add(solid(1), "\n").name == "Layer"

    def test_provenance_is_stored_plainly(self) -> None:
        """A bare model name becomes a mapping, tuples become lists, boxes become boxes."""
        layer = LayerStack(4, 4).add(solid(1), box="0,0,2,2", model="tiny", parameters={"steps": 4, "size": (1, 2)})
        assert layer.box == Box(0, 0, 2, 2)
        assert layer.model == {"name": "tiny"}
        assert layer.parameters == {"steps": 4, "size": [1, 2]}

    def test_numbers_of_numpy_become_plain(self) -> None:
        """They travel into every file, and floats from 0 to 1 are pixels too."""
        stack = LayerStack.new(BACKGROUND / 255)
        assert np.array_equal(stack["background"].rgba[..., :3], BACKGROUND)
        facts = {"x": np.int64(3), "seed": np.uint32(7), "opacity": np.float32(0.5), "visible": np.True_}
        layer = stack.add(solid(9), **facts)
        assert (type(layer.x), type(layer.seed), type(layer.opacity), type(layer.visible)) == (int, int, float, bool)
        for suffix in (".zip", ".ora", ".psd"):
            back = documents.decode(documents.encode(stack, suffix))["layer-1"]
            assert (back.x, back.seed, back.opacity, back.visible) == (3, 7, 0.5, True)

    def test_scaling(self) -> None:
        """Premultiplied: no dark edge, corner kept."""
        layer = dataclasses.replace(LayerStack(20, 20).add(solid(200, 8)), x=3, y=4)
        scaled = layer.resized(3, 17)
        assert (scaled.width, scaled.height, scaled.x, scaled.y) == (3, 17, 3, 4)
        assert (scaled.rgba == [200, 200, 200, 255]).all()


class TestEditing:
    """Changing a stack."""

    def test_update_replaces_fields_of_one_layer(self) -> None:
        """The id stays, whatever is asked."""
        stack = LayerStack.new(BACKGROUND)
        stack.add(solid(1), id="a")
        assert stack.update("a", x=9, opacity=0.5, id="b").id == "a"
        assert (stack["a"].x, stack["a"].opacity) == (9, 0.5)

    def test_remove_and_new_ids(self) -> None:
        """Ids are never given twice while they are in use."""
        stack = LayerStack(4, 4)
        for _ in range(3):
            stack.add(solid(1))
        stack.remove("layer-2")
        assert [layer.id for layer in stack] == ["layer-1", "layer-3"]
        assert stack.add(solid(1)).id == "layer-2"

    @pytest.mark.parametrize("case", IMPOSSIBLE)
    def test_what_cannot_be_is_refused_and_changes_nothing(self, case: str) -> None:
        """Each refusal names its field; the stack stays as it was."""
        key, change = IMPOSSIBLE[case]
        stack = LayerStack.new(BACKGROUND)
        with pytest.raises(BadInput) as caught:
            change(stack)
        assert caught.value.key == key
        assert [layer.id for layer in stack] == ["background"]

    def test_a_layer_of_another_type_is_our_own_mistake(self) -> None:
        """Float or three channels never reach a file."""
        for pixels in (np.zeros((2, 2, 4), np.float32), np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)):
            with pytest.raises(AssertionError):
                Layer(pixels)
