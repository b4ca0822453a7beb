"""Pictures of a model at work on fixed probes: the first records of a data set, always with the same seeds."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from bfs_model.picture.images import checkerboard
from bfs_platform.train.sample.batches import decode_png

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset

_SCALE_TO = 128


def probe_sheet(pipe: Any, dataset: "Dataset", count: int = 4, steps: int | None = None) -> Image.Image:
    """One row per probe: background with box, composite branch, layer on checker, alpha, composite of the layer."""
    table = dataset.take(np.arange(min(count, len(dataset))), ["background_png", "box", "caption"])
    rows = []
    for i, (png, box, caption) in enumerate(zip(table["background_png"], table["box"], table["caption"], strict=True)):
        background = Image.open(io.BytesIO(png)).convert("RGB")
        out = pipe(background, tuple(int(v) for v in box), str(caption), seed=i, num_inference_steps=steps, decode_branch=True)
        layer = out.foregrounds[0]
        rows.append(
            [
                _with_box(background, box),
                out.branch_composites[0],
                checkerboard(np.asarray(layer)),
                layer.getchannel("A"),
                out.composites[0],
            ]
        )
    return grid(rows)


def grid(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in rows and columns, small ones enlarged without smoothing."""
    side = _SCALE_TO
    sheet = Image.new("RGB", (side * max(map(len, rows)), side * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture.convert("RGB").resize((side, side), Image.Resampling.NEAREST), (x * side, y * side))
    return sheet


def side_by_side(dataset: "Dataset", rows: np.ndarray, column: str, decoded: np.ndarray) -> Image.Image:
    """Two rows: images of a column, and what a VAE made of them (float [N, H, W, C] in [0, 1])."""
    table = dataset.take(rows, [column])
    return grid([[_shown(decode_png(png)) for png in table[column]], [_shown(image) for image in decoded]])


def _shown(image: np.ndarray) -> Image.Image:
    pixels = np.rint(image * 255).astype(np.uint8)
    return checkerboard(pixels) if pixels.shape[-1] == 4 else Image.fromarray(pixels)


def _with_box(background: Image.Image, box: Any) -> Image.Image:
    out = background.copy()
    x0, y0, x1, y1 = (int(v) for v in box)
    ImageDraw.Draw(out).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 220, 0))
    return out
