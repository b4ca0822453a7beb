"""Object and effects as two layers: exactly the same picture, and each holds what it is named after."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psd_tools import PSDImage

from bfs_model.document import effects
from bfs_model.document import file as documents
from bfs_model.document.effects import split
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box

BOX = Box(10, 6, 34, 30)


def soft_disc(height: int = 48, width: int = 56, colour: tuple[int, int, int] = (220, 60, 40), shadow: int = 120) -> np.ndarray:
    """A disc with a soft edge, its shadow below and right of it, over nothing: straight RGBA uint8."""
    y, x = np.indices((height, width)) + 0.5
    cover = np.clip(11.5 - np.hypot(x - 22, y - 18), 0, 1)
    fall = shadow / 255 * np.clip(1.4 - np.hypot((x - 30) / 16, (y - 29) / 7), 0, 1)
    alpha = cover + (1 - cover) * fall
    rgb = np.asarray(colour)[None, None] * (cover / np.maximum(alpha, 1e-9))[..., None]
    return np.rint(np.dstack([rgb, alpha * 255])).clip(0, 255).astype(np.uint8)


def over(layers: list[np.ndarray], background: np.ndarray) -> np.ndarray:
    stack = LayerStack.new(background)
    for layer in layers:
        stack.add(layer)
    return np.asarray(stack.flatten()).astype(int)


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, Box | None]:
    """Layers of any size: noise, or blobs of alpha with the few levels that rounding dislikes."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rgba = random.integers(0, 256, (height, width, 4), np.uint8)
    if draw(st.booleans()):
        y, x = np.indices((height, width))
        blob = np.clip(1.3 - np.hypot(x - width * random.random(), y - height * random.random()) / (1 + random.random() * width), 0, 1)
        rgba[..., 3] = np.rint(255 * blob)
        rgba[..., :3] = random.integers(0, 256, 3)
    if draw(st.booleans()):
        rgba[..., 3] = np.where(random.random((height, width)) < 0.5, rgba[..., 3], random.choice([0, 1, 2, 254, 255]))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))
    return rgba, draw(st.sampled_from([None, box]))


@settings(deadline=None, max_examples=150)
@given(layers(), st.sampled_from([0, 1, 128, 255, None]))
def test_two_layers_give_the_picture_of_one(layer: tuple[np.ndarray, Box | None], grey: int | None) -> None:
    """Effects, then object, over any background: within one level of the whole layer, and exactly it where alpha is 0."""
    rgba, box = layer
    background = np.random.default_rng(1).integers(0, 256, (*rgba.shape[:2], 3), np.uint8)
    if grey is not None:
        background[:] = grey
    effects, thing = split(rgba, box)
    assert np.abs(over([effects, thing], background) - over([rgba], background)).max() <= 1
    assert not effects[rgba[..., 3] == 0, 3].any() and not thing[rgba[..., 3] == 0, 3].any()


@pytest.mark.parametrize("colour", [(220, 60, 40), (250, 250, 250), (12, 12, 14)], ids=["red", "white", "black"])
def test_the_object_is_separated_from_its_shadow(colour: tuple[int, int, int]) -> None:
    """The object's layer is opaque, of its colour and inside the box; the shadow is black and runs up to the object."""
    rgba = soft_disc(colour=colour)
    effects, thing = split(rgba, BOX)
    y, x = np.indices(rgba.shape[:2]) + 0.5
    distance = np.hypot(x - 22, y - 18)
    assert (thing[distance < 10, 3] == 255).all() and not thing[distance > 14, 3].any()
    assert not effects[distance < 9, 3].any()
    shadow = (distance > 14) & (rgba[..., 3] > 0)
    assert np.array_equal(effects[shadow], rgba[shadow]) and shadow.sum() > 100
    edge = (thing[..., 3] > 25) & (thing[..., 3] < 230)
    assert edge.any() and np.abs(thing[edge, :3].astype(int) - colour).max() <= 40, "no shadow in the object's soft edge"


def test_an_object_without_effects_has_none() -> None:
    """Its soft edge is its own: no trace of a level is left under it."""
    rgba = soft_disc(shadow=0)
    effects, thing = split(rgba, BOX)
    assert not effects[..., 3].any() and np.array_equal(thing, rgba)


def test_a_black_contact_shadow_is_no_object() -> None:
    """As opaque as the object, touching it and inside the box: its colour tells."""
    rgba = soft_disc()
    rgba[26:33, 14:32] = [3, 2, 2, 235]
    effects, thing = split(rgba, Box(10, 6, 34, 34))
    assert effects[31, 14:32, 3].min() == 235 and not thing[31, 14:32, 3].any()


def test_dark_spots_inside_an_object_belong_to_it_and_real_holes_do_not() -> None:
    """A window painted black, and a ring's empty middle with a trace of shadow."""
    rgba = soft_disc()
    rgba[14:18, 18:22] = [0, 0, 0, 255]
    rgba[20:24, 22:26] = [0, 0, 0, 40]
    effects, thing = split(rgba, BOX)
    assert (thing[15:17, 19:21] == [0, 0, 0, 255]).all()
    assert (effects[21:23, 23:25, 3] == 40).all() and not thing[21:23, 23:25, 3].any()


def test_what_lies_outside_the_box_is_an_effect() -> None:
    """A reflection can be as opaque and as bright as the object; the box says which is which."""
    rgba = soft_disc()
    rgba[38:44, 16:28] = [220, 60, 40, 255]
    effects, thing = split(rgba, BOX)
    assert not thing[37:, :, 3].any() and (effects[38:44, 16:28] == [220, 60, 40, 255]).all()


def test_a_winding_layer_is_no_work() -> None:
    """One piece of many turns, as a maze has them: its number reaches all of it in few passes."""
    winding = np.zeros((256, 256), bool)
    winding[::2] = True
    winding[1::4, -1] = winding[3::4, 0] = True
    passes = 0
    spread = effects._maximum_filter

    def counted(values: np.ndarray) -> np.ndarray:
        nonlocal passes
        passes += 1
        return spread(values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effects, "_maximum_filter", counted)
        names = effects._pieces(winding)
    assert len(np.unique(names[winding])) == 1 and not names[~winding].any() and passes < 40


def test_specks_do_not_hide_the_object() -> None:
    """However many come first: the object is the largest piece."""
    rgba = np.zeros((80, 200, 4), np.uint8)
    rgba[1:31:2, 1:199:2] = [220, 60, 40, 255]
    rgba[40:70, 80:120] = [40, 60, 220, 255]
    effects, thing = split(rgba)
    assert (thing[42:68, 82:118, 3] == 255).all() and not thing[:35, :, 3].any()
    assert np.array_equal(effects[:35], rgba[:35])


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1)])
def test_any_shape_and_nothing_at_all(size: tuple[int, int]) -> None:
    """Layers of one pixel's width, larger than the working size, clear or full."""
    for alpha in (0, 3, 255):
        rgba = np.full((*size, 4), [9, 200, 30, alpha], np.uint8)
        effects, thing = split(rgba)
        assert ((effects[..., 3] > 0).sum() + (thing[..., 3] > 0).sum() == rgba[..., 3].astype(bool).sum()) or alpha == 3


class TestInAStack:
    """`LayerStack.split_effects`."""

    def test_two_layers_in_a_group_take_the_place_of_one(self) -> None:
        """Prompt, seed, box and model stay with both; the picture stays; layers above and below stay where they are."""
        stack = LayerStack.new(np.full((48, 56, 3), 170, np.uint8))
        facts = {"prompt": "a ball", "seed": 3, "model": "tiny", "parameters": {"steps": 2}}
        ball = stack.add(soft_disc(), "ball", box=BOX, opacity=0.5, **facts)
        stack.add(np.full((4, 4, 4), 255, np.uint8), "hat")
        before = np.asarray(stack.flatten()).astype(int)
        effects, thing = stack.split_effects(ball.id)
        assert [layer.name for layer in stack] == ["Background", "ball (effects)", "ball (object)", "hat"]
        assert (effects.part, thing.part, effects.group, thing.group) == ("effects", "object", "ball", "ball")
        for layer in (effects, thing):
            assert (layer.prompt, layer.seed, layer.model, layer.box, layer.opacity) == ("a ball", 3, {"name": "tiny"}, BOX, 1)
        assert np.abs(np.asarray(stack.flatten()).astype(int) - before).max() <= 1
        assert thing.width < effects.width

    @pytest.mark.parametrize("way", ["moved", "scaled", "moved in an editor"])
    def test_a_layer_that_was_moved_or_scaled_is_split_alike(self, way: str) -> None:
        """Its box goes with it: the object is the same piece of the layer as before."""
        stack = LayerStack.new(np.full((200, 300, 3), 170, np.uint8))
        ball = stack.add(soft_disc(), "ball", box=BOX, id="ball")
        other = LayerStack(stack.width, stack.height, stack.layers)
        _, expected = other.split_effects("ball")
        if way == "scaled":
            larger = ball.resized(3 * ball.width, 3 * ball.height)
            stack.update("ball", rgba=larger.rgba, box=larger.box)
            _, thing = stack.split_effects("ball")
            assert abs(thing.width - 3 * expected.width) <= 6 and abs(thing.height - 3 * expected.height) <= 6
            return
        if way == "moved":
            stack.update("ball", x=ball.x + 200, y=ball.y + 90)
        else:
            document = PSDImage.open(io.BytesIO(documents.encode(stack, ".psd")))
            document[1].offset = (ball.x + 200, ball.y + 90)
            saved = io.BytesIO()
            document.save(saved)
            stack = documents.decode(saved.getvalue())
        _, thing = stack.split_effects("ball")
        assert np.array_equal(thing.rgba, expected.rgba)
        assert (thing.x, thing.y, thing.box) == (expected.x + 200, expected.y + 90, BOX.shifted(200, 90))

    def test_the_parts_of_long_names_stay_two(self) -> None:
        """Names and ids that fill all the room are cut before what tells the parts apart."""
        stack = LayerStack(56, 48)
        effects, thing = stack.split_effects(stack.add(soft_disc(), "n" * 400, id="i" * 400).id)
        assert effects.name.endswith("n (effects)") and thing.name.endswith("n (object)")
        assert [effects.id[-8:], thing.id[-7:]] == ["-effects", "-object"]

    def test_a_layer_is_not_lost_when_the_id_of_a_part_is_taken(self) -> None:
        """The stack stays as it was."""
        stack = LayerStack(56, 48)
        stack.add(soft_disc(), id="ball")
        stack.add(soft_disc(), id="ball-object")
        with pytest.raises(BadInput, match="is the id of another layer"):
            stack.split_effects("ball")
        assert [layer.id for layer in stack] == ["ball", "ball-object"]

    @pytest.mark.parametrize("facts", [{"role": "background"}, {"blend_mode": "multiply"}, {"part": "object"}], ids=str)
    def test_what_cannot_be_split_says_why(self, facts: dict[str, str]) -> None:
        """A background, a layer in another mode, and a part."""
        stack = LayerStack(56, 48, [Layer(soft_disc(), name="it", id="it", **facts)])
        with pytest.raises(BadInput, match="leave it whole"):
            stack.split_effects("it")
        assert len(stack) == 1
