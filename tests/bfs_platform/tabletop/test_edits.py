"""Edited scenes, and the change of a layer that stands for each."""

import io

import numpy as np
import pytest
from PIL import Image

from bfs_platform.tabletop.description import Description
from bfs_platform.tabletop.edits import EDITS, SCALE, edits_of
from bfs_platform.tabletop.meshes import placed
from bfs_platform.tabletop.projection import fraction_inside, project
from bfs_platform.tabletop.sample import Request, make_sample
from bfs_platform.tabletop.scene import draw


def scenes(number: int) -> list[Description]:
    drawn = (draw(5, "train", index, attempt) for index in range(number) for attempt in range(40))
    return [scene for scene in drawn if scene is not None][:number]


def corners(scene: Description, last: bool = False) -> np.ndarray:
    """The object's vertices in the picture, or those of the object that was put there last."""
    thing = scene.others[-1] if last else scene.target
    mesh = placed(thing.combination.shape, thing.x, thing.y, thing.yaw, thing.scale)
    return project(mesh.vertices.astype(np.float64), scene.camera)


@pytest.mark.parametrize("scene", scenes(12), ids=range(12))
def test_the_change_of_the_layer_follows_the_object(scene: Description) -> None:
    """What a similarity makes of the object's outline lies, on average, within 3 % of the picture from where the edited one stands."""
    edits = edits_of(scene)
    assert {"scale", "recolour"} <= set(edits) <= set(EDITS)
    for name, edit in edits.items():
        expected = corners(edit.description, last=name == "duplicate")
        changed = np.array(edit.target) + edit.scale * (corners(scene) - np.array(edit.origin))
        assert np.abs(changed - expected).mean() < (0.03 if name != "recolour" else 1e-9), name
        if name in ("move", "duplicate"):
            assert ((expected > 0) & (expected < 1)).all()
    assert edits["scale"].scale == SCALE and edits["recolour"].description.target.combination.colour != scene.target.combination.colour


def test_a_copy_stands_clear_of_its_original() -> None:
    """No two objects share a place, and the copy is the object once more."""
    found = [(scene, edits_of(scene)["duplicate"]) for scene in scenes(12) if "duplicate" in edits_of(scene)]
    assert len(found) >= 4
    for scene, edit in found:
        *others, copy = edit.description.others
        assert others == list(scene.others) and copy.combination == scene.target.combination
        assert np.hypot(copy.x - scene.target.x, copy.y - scene.target.y) > 1.1 * copy.scale
        assert fraction_inside(np.array([[copy.x, copy.y, 0.0]]), scene.camera, margin=0.0) == 1


def test_edits_are_rendered_beside_the_scene() -> None:
    """A picture for each edit that the record names; without `edits` all is as it was."""
    plain, more = (make_sample(Request(5, resolution=24, samples=4, edits=edits), 0) for edits in (False, True))
    assert {k: more.images[k] for k in plain.images} == plain.images
    assert {k: v for k, v in more.record.items() if k != "edits"} == plain.record
    assert {f"edit_{name}" for name in more.record["edits"]} == set(more.images) - set(plain.images)
    smaller, source = (np.asarray(Image.open(io.BytesIO(more.images[name]))).astype(int) for name in ("edit_scale", "source"))
    assert smaller.shape == source.shape and np.abs(smaller - source).mean() > 1
    assert "edits" not in Request(5).facts() and Request(5, edits=True).facts()["edits"] is True
