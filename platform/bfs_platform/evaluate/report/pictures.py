"""The six small pictures of a record in the report."""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw

from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import checkerboard, png_bytes
from bfs_platform.evaluate.metric.measure import judged
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn

REFERENCES = ("identity", "truth")  # baselines whose composites the report shows anyway
KINDS = ("background", "layer", "alpha", "composite", "truth", "error")
ERROR_GAIN = 4
_COMPOSITE_OF = "composite of "
_BOX_COLOUR = (255, 64, 0)


def pictures(drawn: Drawn, sample: Sample, side: int) -> dict[str, bytes]:
    """PNG bytes of each kind: background with box, layer on a checkerboard, alpha, layer over background, truth, error ×4.

    Small pictures are enlarged by a whole factor without smoothing, to about `side` pixels; large ones are reduced to it.
    """
    layer = np.asarray(drawn.layer)
    composite = composite_u8(layer, sample.background)
    error = np.abs(composite.astype(np.int16) - sample.truth.astype(np.int16)).max(axis=-1) * ERROR_GAIN
    fit = _fitter(layer.shape[1], layer.shape[0], side)
    shown = {
        "background": _with_box(fit(Image.fromarray(sample.background)), sample),
        "layer": _on_checker(drawn.layer, fit),
        "alpha": fit(Image.fromarray(layer[..., 3])),
        "composite": fit(Image.fromarray(composite)),
        "truth": fit(Image.fromarray(sample.truth)),
        "error": fit(Image.fromarray(np.minimum(error, 255).astype(np.uint8))),
    }
    return {kind: png_bytes(shown[kind]) for kind in KINDS}


def shown_kinds(systems: Iterable[str]) -> tuple[str, ...]:
    """Names of all pictures of a record in the report: the model's, and the composite of each system beside it."""
    return (*KINDS, *(_COMPOSITE_OF + name for name in systems if name not in ("model", *REFERENCES)))


def small_composite(name: str, drawn: Drawn, sample: Sample, side: int) -> dict[str, bytes]:
    """What a system beside the model delivers, as one small PNG: its composite, or the background that it found."""
    if name in REFERENCES:
        return {}
    picture = judged(drawn, sample)[0]
    return {_COMPOSITE_OF + name: png_bytes(_fitter(picture.shape[1], picture.shape[0], side)(Image.fromarray(picture)))}


def system_of(kind: str) -> str | None:
    """The system beside the model that a kind of picture belongs to; None for the model's own."""
    return kind.removeprefix(_COMPOSITE_OF) if kind.startswith(_COMPOSITE_OF) else None


def _fitter(width: int, height: int, side: int) -> Callable[[Image.Image], Image.Image]:
    longest = max(width, height)
    if longest <= side:
        factor = max(1, round(side / longest))
        return lambda image: image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    return lambda image: image.resize(size, Image.Resampling.LANCZOS)


def _with_box(image: Image.Image, sample: Sample) -> Image.Image:
    """Draw the box after scaling, so that its line stays thin."""
    sx, sy = image.width / sample.background.shape[1], image.height / sample.background.shape[0]
    box = sample.box
    corners = (round(box.x0 * sx), round(box.y0 * sy), round(box.x1 * sx) - 1, round(box.y1 * sy) - 1)
    ImageDraw.Draw(image).rectangle(corners, outline=_BOX_COLOUR, width=2)
    return image


def _on_checker(layer: Image.Image, fit: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Premultiplied scaling is not needed: enlarging copies pixels, and reducing happens on the opaque result."""
    enlarged = fit(layer)
    return checkerboard(enlarged) if enlarged.width >= layer.width else fit(checkerboard(layer))
