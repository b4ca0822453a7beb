"""What must hold for a record to teach anything; each broken rule is a `Reject` with its numbers."""

import numpy as np

from bfs_model.picture.boxes import Box, bounding_box
from bfs_model.picture.compositing import composite_u8
from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.spec import CheckSpec
from bfs_platform.data.stage.fit import MASK_LEVEL


def check_caption(caption: str, default: str) -> str:
    """The caption, or the default when it is blank. Raises `Reject` when both are."""
    caption = " ".join((caption if caption.strip() else default).split())
    if not caption:
        raise Reject(Reason.EMPTY_CAPTION, "the record has no caption and the recipe no default_caption; caption.kind=blip2 writes one")
    return caption


def check_score(score: float | None, minimum: float | None) -> None:
    """Sources with a quality score can be cut below `minimum`."""
    if minimum is not None and score is not None and score < minimum:
        raise Reject(Reason.LOW_SCORE, f"score {score:g} is below {minimum:g}")


def object_box(record: Record, spec: CheckSpec) -> Box:
    """The tight box around the object. Raises `Reject` when there is no object, or nothing beside it."""
    inside = record.object_mask >= MASK_LEVEL
    num_pixels = int(inside.sum())
    if num_pixels < spec.min_object_pixels:
        raise Reject(Reason.EMPTY_MASK, f"the object mask covers {num_pixels} pixels, at least {spec.min_object_pixels} are needed")
    box = bounding_box(inside)
    assert box is not None
    fraction = box.area / inside.size
    if fraction > spec.max_box_fraction:
        raise Reject(Reason.BOX_COVERS_IMAGE, f"the box {box} covers {fraction:.0%} of the image, more than {spec.max_box_fraction:.0%}")
    return box


def check_difference(record: Record, background: np.ndarray, spec: CheckSpec) -> None:
    """Raise `Reject` when composite and background show the same under the object mask: it misses the object."""
    inside = record.object_mask >= MASK_LEVEL
    difference = np.abs(record.composite[inside].astype(np.int16) - background[inside]).mean()
    if difference < spec.min_difference:
        rule = f"under the mask, composite and background differ by {difference:.1f} levels, at least {spec.min_difference:g} are needed"
        raise Reject(Reason.MASK_MISSES_OBJECT, rule)


def check_layer(record: Record, background: np.ndarray, max_error: float) -> None:
    """Raise `Reject` when a given layer over the background is not the composite that the source shows: it belongs to another."""
    assert record.foreground is not None
    made = composite_u8(record.foreground, background).astype(np.int16)
    difference = np.abs(made - record.composite).mean(axis=-1)
    shown = (record.foreground[..., 3] > 0) | (np.abs(record.composite.astype(np.int16) - background).mean(axis=-1) > max_error)
    error = float(difference[shown].mean()) if shown.any() else 0.0
    if error > max_error:
        rule = f"the layer over the background differs from the composite by {error:.1f} levels where either shows anything"
        raise Reject(Reason.LAYER_MISFIT, f"{rule}; {max_error:g} are allowed")


def loosened(box: Box, fraction: float, height: int, width: int, seed: int) -> Box:
    """M̂: the box grown on each side by a random share, up to `fraction`, of its own width or height, inside the image."""
    left, top, right, bottom = np.random.default_rng([21, seed]).uniform(0, fraction, 4)
    return Box(
        max(0, box.x0 - round(left * box.width)),
        max(0, box.y0 - round(top * box.height)),
        min(width, box.x1 + round(right * box.width)),
        min(height, box.y1 + round(bottom * box.height)),
    )


def difference_hash(picture: np.ndarray) -> int:
    """64 bits: is each cell of an 8 × 9 shrunken grey picture [H, W, 3] darker than its right neighbour?"""
    from PIL import Image

    grey = np.asarray(Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int(np.packbits(bits).view(">u8")[0])
