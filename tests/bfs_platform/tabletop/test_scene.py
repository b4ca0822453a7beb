"""Scenes are drawn as pure functions, within the rules of their split."""

import math
from itertools import combinations as pairs

import numpy as np
import pytest

from bfs_model.errors import BadInput
from bfs_platform.tabletop.description import Description
from bfs_platform.tabletop.meshes import placed
from bfs_platform.tabletop.projection import extent, fraction_inside
from bfs_platform.tabletop.scene import draw
from bfs_platform.tabletop.vocabulary import SIZES, SPLITS, WORLDS, split_of


def _drawn(split: str = "train", count: int = 60) -> list[Description]:
    drawn = (draw(3, split, index, 0) for index in range(count))
    return [description for description in drawn if description is not None]


def test_a_draw_depends_on_its_key_only() -> None:
    """The same key gives the same scene, in any order; every part of the key changes it."""
    first = [draw(5, "train", index, 0) for index in range(6)]
    assert [draw(5, "train", index, 0) for index in reversed(range(6))] == first[::-1]
    changed = [draw(6, "train", 0, 0), draw(5, "validation", 0, 0), draw(5, "train", 1, 0), draw(5, "train", 0, 1)]
    assert first[0] is not None and all(other != first[0] for other in changed)


@pytest.mark.parametrize("split", SPLITS)
def test_held_out_combinations_are_seen_nowhere_else(split: str) -> None:
    """The target is of its split; what stands in the background is always of the training split."""
    scenes = _drawn(split)
    assert {split_of(scene.target.combination) for scene in scenes} == {split}
    assert {split_of(other.combination) for scene in scenes for other in scene.others} == {"train"}


def test_the_object_has_the_size_of_its_caption() -> None:
    """The longer side of the projected object lies in the range of its size word, up to the turn of the camera."""
    for scene in _drawn():
        low, high = SIZES[scene.size]
        target = scene.target
        points = placed(target.combination.shape, 0, 0, target.yaw, target.scale).vertices
        assert 0.88 * low < extent(points, scene.camera) < 1.12 * high
        assert fraction_inside(points, scene.camera, margin=0.03) == 1.0


def test_objects_do_not_touch() -> None:
    """Any two objects keep the distance of their half widths."""
    for scene in _drawn():
        for a, b in pairs((scene.target, *scene.others), 2):
            assert math.hypot(a.x - b.x, a.y - b.y) > 0.5 * (a.scale + b.scale)


def test_lights_shine_from_this_side_of_every_wall() -> None:
    """No wall stands between a light and the object, and none between the camera and the object."""
    num_walls = 0
    for scene in _drawn():
        for wall in scene.walls:
            num_walls += 1
            normal = np.array([math.cos(wall.yaw), math.sin(wall.yaw), 0.0])
            for place in (*(light.position for light in scene.lights), scene.camera.origin):
                assert normal @ (np.array(place) - np.array(wall.position)) > 0
    assert num_walls > 20


def test_scenes_vary() -> None:
    """Floors, walls, lights and company all take more than one value."""
    scenes = _drawn()
    assert {scene.floor.pattern for scene in scenes} == {"plain", "checker", "stripes"}
    assert {scene.floor.gloss > 0 for scene in scenes} == {True, False}
    assert {len(scene.walls) for scene in scenes} == {0, 1, 2}
    assert {len(scene.lights) for scene in scenes} == {1, 2}
    assert {len(scene.others) for scene in scenes} == {0, 1, 2, 3}


def test_the_second_world_adds_to_the_first() -> None:
    """New shapes, textures and lower lights appear in it; the first world has none of them, and both keep the rules of a split."""
    scenes = [scene for index in range(150) if (scene := draw(3, "train", index, 0, 2)) is not None]
    shapes = {scene.target.combination.shape for scene in scenes}
    assert {"vase", "mushroom", "teapot", "star", "heart", "sphere"} <= shapes
    assert {scene.floor.pattern for scene in scenes} == {"plain", "checker", "stripes", "wood", "dots"}
    assert {split_of(thing.combination) for scene in scenes for thing in (scene.target, *scene.others)} == {"train"}

    def lowest(drawn: list[Description]) -> float:
        return min(math.asin(light.position[2] / math.hypot(*light.position)) for scene in drawn for light in scene.lights)

    assert math.radians(36) < lowest(scenes) < math.radians(42) < lowest(_drawn())
    assert {scene.target.combination.shape for scene in _drawn()} <= set(WORLDS[1])


def test_an_unknown_split_is_refused() -> None:
    """Drawing from a split that does not exist is the caller's error."""
    with pytest.raises(BadInput, match="split=test"):
        draw(1, "test", 0, 0)
