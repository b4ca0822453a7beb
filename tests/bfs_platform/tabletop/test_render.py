"""Rendered pictures, masks and effects, at few samples and small sizes."""

import dataclasses

import numpy as np
import pytest

from bfs_platform.tabletop.description import Description, Thing
from bfs_platform.tabletop.render import Rendered, effect_of, render, render_mask
from bfs_platform.tabletop.scene import draw
from bfs_platform.tabletop.vocabulary import Combination

SIZE, SAMPLES = 32, 16


def _scene(**changes: object) -> Description:
    """A scene of the training split with nothing but a matte blue cylinder, changed as asked."""
    description = draw(7, "train", 121, 0)
    assert description is not None
    target = dataclasses.replace(description.target, combination=Combination("cylinder", "blue", "matte"))
    return dataclasses.replace(description, target=target, others=(), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    """The plain scene, rendered once."""
    description = _scene()
    return render(description, SIZE, render_mask(description, SIZE), SAMPLES)


def test_the_mask_is_where_the_picture_changes_most(rendered: Rendered) -> None:
    """Inside the mask nearly every pixel differs from the background strongly; away from mask and effect hardly any does."""
    difference = np.abs(rendered.source.astype(int) - rendered.background).max(axis=-1)
    assert np.mean(difference[rendered.mask] > 30) > 0.95
    elsewhere = difference[~rendered.mask & ~rendered.effect]
    assert elsewhere.mean() < 3 and np.mean(elsewhere > 20) < 0.01


def test_the_object_has_its_colour(rendered: Rendered) -> None:
    """A blue object is blue, in a picture that is neither dark nor blown out."""
    red, green, blue = rendered.source[rendered.mask].mean(axis=0)
    assert blue > 1.5 * red and blue > 1.5 * green
    assert 60 < rendered.background.mean() < 225


def test_the_effect_holds_a_shadow(rendered: Rendered) -> None:
    """Outside the object the effect region is sizeable, touches the object, and is darker than the background."""
    assert rendered.effect.mean() > 0.02 and not (rendered.effect & rendered.mask).any()
    shade = rendered.source[rendered.effect].mean() - rendered.background[rendered.effect].mean()
    assert shade < -15


def test_rendering_twice_gives_the_same_bytes() -> None:
    """Bitwise equal, with two lights and a glass object as well: the renderer must see its lights in a fixed order."""
    description = next(d for index in range(40) if (d := draw(1, "train", index, 0)) and len(d.lights) == 2)
    target = dataclasses.replace(description.target, combination=Combination("sphere", "red", "glass"))
    description = dataclasses.replace(description, target=target)
    mask = render_mask(description, SIZE)
    first = render(description, SIZE, mask, 8)
    for _ in range(5):
        assert all(np.array_equal(a, b) for a, b in zip(first, render(description, SIZE, mask, 8), strict=True))


def test_what_stands_in_front_hides_the_object() -> None:
    """An object between the camera and the target cuts a piece out of the target's mask."""
    description = _scene()
    direction = np.array(description.camera.origin[:2]) / np.linalg.norm(description.camera.origin[:2])
    x, y = (float(v) for v in 0.6 * direction)
    hidden = dataclasses.replace(description, others=(Thing(Combination("cylinder", "red", "matte"), x, y, 0.0, 0.7),))
    free, cut = render_mask(description, SIZE), render_mask(hidden, SIZE)
    assert not (cut & ~free).any() and 0.1 < cut.sum() / free.sum() < 0.9


def test_glass_shows_the_background_and_matte_does_not() -> None:
    """Through clear glass the picture keeps more of the background's brightness than through a black matte object."""
    values = {}
    for name, combination in {"glass": Combination("sphere", "white", "glass"), "matte": Combination("sphere", "black", "matte")}.items():
        description = _scene()
        description = dataclasses.replace(description, target=dataclasses.replace(description.target, combination=combination))
        out = render(description, SIZE, render_mask(description, SIZE), SAMPLES)
        values[name] = out.source[out.mask].mean() / out.background[out.mask].mean()
    assert values["glass"] > 0.55 and values["matte"] < 0.45


def test_a_glossy_table_mirrors_the_object() -> None:
    """With gloss, the table below the object takes on its colour; a matte table does not to that degree."""
    blueness = []
    for gloss in (0.0, 0.4):
        description = _scene()
        floor = dataclasses.replace(description.floor, pattern="plain", gloss=gloss)
        description = dataclasses.replace(description, floor=floor)
        out = render(description, SIZE, render_mask(description, SIZE), SAMPLES)
        rows, columns = np.nonzero(out.mask)
        below = out.source[rows.max() + 2 : rows.max() + 5, int(columns.mean()) - 1 : int(columns.mean()) + 2].astype(int)
        blueness.append((below[..., 2] - below[..., 0]).mean())
    assert blueness[1] > blueness[0] + 8


def test_effects_are_found_by_threshold() -> None:
    """A patch of 20 levels counts, one of 5 does not, a single pixel does not, and the object itself never does."""
    background = np.full((20, 20, 3), 128, np.uint8)
    source, mask = background.copy(), np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    source[mask] = 255
    source[12:18, 8:12] -= 20
    source[1:6, 1:6] -= 5
    source[3, 15] -= 30
    effect = effect_of(source, background, mask)
    assert effect[13:17, 9:11].all() and not effect[:7].any() and not (effect & mask).any()
    assert not effect[8:11, :7].any() and not effect[8:11, 13:].any()
