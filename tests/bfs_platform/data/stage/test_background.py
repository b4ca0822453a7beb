"""Clean backgrounds: the dataset's own, and the one that is filled in."""

import numpy as np
import pytest

from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.spec import BackgroundSpec
from bfs_platform.data.stage.background import harmonic, provider


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A gradient, the same with a red block on it, and the block's mask."""
    y, x = np.mgrid[:41, :53]
    gradient = np.dstack([60 + 2 * x, 40 + 3 * y, 200 - x - y]).astype(np.uint8)
    mask = np.zeros((41, 53), np.uint8)
    mask[12:25, 20:34] = 255
    picture = gradient.copy()
    picture[mask > 0] = (250, 10, 10)
    return gradient, picture, mask


def test_a_gradient_is_filled_in_exactly() -> None:
    """Linear gradients are harmonic: the object is gone without a trace, and nothing else changed."""
    gradient, picture, mask = scene()
    filled = provider(BackgroundSpec(kind="harmonic")).background(Record("r", "", picture, None, mask))
    assert np.abs(filled.astype(int) - gradient).max() <= 1


def test_an_object_at_the_frame_is_filled_from_inside() -> None:
    """Where the hole meets the frame there is nothing to meet: the surface stays within the values around it."""
    gradient, _, _ = scene()
    hole = np.zeros((41, 53), bool)
    hole[30:, :20] = True
    filled = harmonic(gradient, hole)
    rim = np.concatenate([gradient[29, :20], gradient[30:, 20]])
    assert (filled[hole] >= rim.min(axis=0)).all() and (filled[hole] <= rim.max(axis=0)).all()
    np.testing.assert_array_equal(filled[~hole], gradient[~hole])


def test_the_datasets_own() -> None:
    """It is passed through; where there is none, the reject names the way out."""
    gradient, picture, mask = scene()
    own = provider(BackgroundSpec())
    assert own.background(Record("r", "", picture, gradient, mask)) is gradient
    with pytest.raises(Reject, match="background.kind=harmonic") as caught:
        own.background(Record("r", "", picture, None, mask))
    assert caught.value.reason == Reason.NO_BACKGROUND
