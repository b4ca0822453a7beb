"""A record seen closer: a window of all its pictures, drawn at random around what the object changes."""

import numpy as np

from bfs_model.picture.boxes import bounding_box
from bfs_platform.data.record import Record
from bfs_platform.data.stage.fit import MASK_LEVEL, PICTURES


def cropped(record: Record, smallest: float, seed: int) -> Record:
    """Cut all pictures of `record` to one window of the same aspect, whose sides are at least `smallest` of theirs.

    The object and, where the source marks them, its effects stay inside, even if the window has to be larger for it.
    """
    height, width = record.object_mask.shape
    shown = record.object_mask >= MASK_LEVEL
    if record.effect_mask is not None:
        shown |= record.effect_mask >= MASK_LEVEL
    box = bounding_box(shown)
    if box is None:
        return record
    rng = np.random.default_rng(seed)
    side = max(rng.uniform(smallest, 1), box.width / width, box.height / height)
    rows, columns = (min(whole, round(whole * side)) for whole in (height, width))
    top = _between(rng, box.y0, box.y1, rows, height)
    left = _between(rng, box.x0, box.x1, columns, width)
    for name in PICTURES:
        picture = getattr(record, name)
        if picture is not None:
            setattr(record, name, np.ascontiguousarray(picture[top : top + rows, left : left + columns]))
    return record


def _between(rng: np.random.Generator, low: int, high: int, window: int, length: int) -> int:
    """The beginning of a window in `length` that holds `low` … `high`, each that does being equally likely."""
    return int(rng.integers(max(0, high - window), min(low, length - window) + 1))
