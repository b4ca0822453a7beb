"""What must hold for a record, and the box that takes the place of its mask."""

import numpy as np
import pytest

from bfs_model.picture.boxes import Box
from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.spec import CheckSpec
from bfs_platform.data.stage.check import check_caption, check_difference, check_score, difference_hash, loosened, object_box

SPEC = CheckSpec(min_object_pixels=6, min_difference=4.0, max_box_fraction=0.5)


def record(box: tuple[int, int, int, int], difference: int = 50) -> Record:
    x0, y0, x1, y1 = box
    mask = np.zeros((20, 30), np.uint8)
    mask[y0:y1, x0:x1] = 255
    background = np.full((20, 30, 3), 100, np.uint8)
    composite = background + (mask[..., None] // 255) * np.uint8(difference)
    return Record("r", "", composite, background, mask)


def test_the_tight_box() -> None:
    """A good record gives the bounding box of its mask."""
    assert object_box(record((4, 5, 12, 11)), SPEC) == Box(4, 5, 12, 11)


@pytest.mark.parametrize(
    ("box", "difference", "reason"),
    [
        ((4, 5, 4, 5), 50, Reason.EMPTY_MASK),
        ((4, 5, 6, 7), 50, Reason.EMPTY_MASK),
        ((0, 0, 30, 11), 50, Reason.BOX_COVERS_IMAGE),
    ],
)
def test_each_broken_rule_has_its_reason(box: tuple[int, int, int, int], difference: int, reason: Reason) -> None:
    """Empty, tiny and all-covering masks are told apart."""
    with pytest.raises(Reject) as caught:
        object_box(record(box, difference), SPEC)
    assert caught.value.reason == reason


def test_differences_count_in_both_directions() -> None:
    """A dark object on a light ground differs as much as a light one on a dark ground (no wrap-around of uint8)."""
    light = record((4, 5, 12, 11))
    assert light.background is not None
    check_difference(light, light.background, CheckSpec(min_difference=49.0))
    dark = Record("r", "", light.background, light.composite, light.object_mask)
    check_difference(dark, light.composite, CheckSpec(min_difference=49.0))


def test_a_mask_that_misses_the_object_is_a_reject() -> None:
    """Three levels of difference under the mask are noise, not an object."""
    faint = record((4, 5, 12, 11), difference=3)
    assert faint.background is not None
    with pytest.raises(Reject) as caught:
        check_difference(faint, faint.background, SPEC)
    assert caught.value.reason == Reason.MASK_MISSES_OBJECT


def test_loosened_box_holds_the_tight_one_and_stays_inside() -> None:
    """Over many seeds: contains the object, grows at most by the fraction, never leaves the image, depends on the seed."""
    tight = Box(4, 1, 24, 11)
    boxes = [loosened(tight, 0.3, 20, 30, seed) for seed in range(200)]
    assert all(b.x0 <= 4 and b.y0 <= 1 and b.x1 >= 24 and b.y1 >= 11 for b in boxes)
    assert min(b.y0 for b in boxes) == 0 and max(b.x1 for b in boxes) == 30 and min(b.x0 for b in boxes) == 0
    assert max(b.y1 for b in boxes) == 14
    assert boxes[3] == loosened(tight, 0.3, 20, 30, 3) and len({str(b) for b in boxes}) > 20
    assert loosened(tight, 0.0, 20, 30, 5) == tight


def test_captions() -> None:
    """White space is tidied; a blank caption takes the default, and is a reject without one."""
    assert check_caption("  a\n red  cup ", "") == "a red cup"
    assert check_caption(" ", "an object") == "an object"
    with pytest.raises(Reject) as caught:
        check_caption("\t", "")
    assert caught.value.reason == Reason.EMPTY_CAPTION


def test_scores() -> None:
    """Only a known score below a stated minimum is a reject."""
    check_score(None, 0.5)
    check_score(0.1, None)
    check_score(0.5, 0.5)
    with pytest.raises(Reject, match="below"):
        check_score(0.49, 0.5)


def test_difference_hash_tells_copies_from_others() -> None:
    """A re-encoded copy is a few bits away, another picture dozens."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 200, (9, 9, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    copy = np.clip(picture.astype(int) + draw.integers(-3, 4, picture.shape), 0, 255).astype(np.uint8)
    other = np.kron(draw.integers(0, 200, (9, 9, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    assert (difference_hash(picture) ^ difference_hash(copy)).bit_count() <= 3
    assert (difference_hash(picture) ^ difference_hash(other)).bit_count() > 15
