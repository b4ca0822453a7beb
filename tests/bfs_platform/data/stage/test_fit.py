"""Resolution buckets."""

import numpy as np
import pytest

from bfs_model.picture.boxes import bounding_box
from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.stage.fit import fit, nearest_bucket

BUCKETS = ((64, 64), (64, 96), (96, 64))


def record(height: int, width: int, box: tuple[int, int, int, int]) -> Record:
    x0, y0, x1, y1 = box
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = 255
    picture = np.dstack([mask, np.full_like(mask, 60), np.full_like(mask, 90)])
    return Record("r", "", picture, picture // 2, mask, foreground=np.dstack([picture, mask]))


def test_nearest_aspect_wins() -> None:
    """Landscape, portrait and square each go to their own; of equal aspects the larger is taken."""
    assert nearest_bucket(480, 640, BUCKETS) == (64, 96)
    assert nearest_bucket(640, 480, BUCKETS) == (96, 64)
    assert nearest_bucket(500, 512, BUCKETS) == (64, 64)
    assert nearest_bucket(128, 128, ((64, 64), (128, 128))) == (128, 128)


def test_a_record_of_the_right_size_is_untouched() -> None:
    """No resampling where none is needed."""
    before = record(64, 64, (10, 20, 30, 40))
    picture = before.composite
    assert fit(before, BUCKETS, 1.0).composite is picture


@pytest.mark.parametrize("box", [(0, 0, 40, 30), (150, 90, 200, 130), (80, 50, 120, 80), (5, 5, 195, 125)])
def test_scaled_and_cropped_around_the_object(box: tuple[int, int, int, int]) -> None:
    """All parts get the bucket's size, the object stays in the picture wherever it was, and the parts stay aligned."""
    out = fit(record(130, 200, box), BUCKETS, 1.0)
    assert out.composite.shape == (64, 96, 3) and out.object_mask.shape == (64, 96)
    assert out.foreground is not None and out.foreground.shape == (64, 96, 4)
    inside = out.object_mask >= 128
    found = bounding_box(inside)
    assert found is not None
    scale = max(64 / 130, 96 / 200)
    assert abs(found.width - min(96, (box[2] - box[0]) * scale)) <= 2
    assert abs(found.height - min(64, (box[3] - box[1]) * scale)) <= 2
    assert out.composite[inside, 0].min() > 100, "the composite's red block lies under the mask"


def test_growing_too_much_is_a_reject() -> None:
    """Small pictures are not blown up."""
    with pytest.raises(Reject) as caught:
        fit(record(40, 40, (5, 5, 20, 20)), BUCKETS, 1.5)
    assert caught.value.reason == Reason.TOO_SMALL
    assert fit(record(40, 40, (5, 5, 20, 20)), BUCKETS, 1.6).composite.shape == (64, 64, 3)
