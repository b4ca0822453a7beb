"""What was asked, what was drawn and what is true, in one row of pictures: for READMEs, and as the end of the demo."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bfs_model.picture.boxes import Box
from bfs_model.picture.images import checkerboard

TITLES = ("background, box", "layer", "alpha", "composite", "truth")
_BOX_COLOUR, _PAPER, _INK = (255, 220, 0), (255, 255, 255), (40, 40, 40)
_GAP, _TITLE = 6, 20  # pixels


def row(background: Image.Image, box: Box, layer: Image.Image, composite: Image.Image, truth: Image.Image) -> list[Image.Image]:
    """Background with box, layer on a checkerboard, its alpha, composite, the true rendering: all of one size, RGB."""
    asked = background.convert("RGB")
    ImageDraw.Draw(asked).rectangle((box.x0, box.y0, box.x1 - 1, box.y1 - 1), outline=_BOX_COLOUR)
    pictures = (asked, checkerboard(np.asarray(layer)), layer.getchannel("A"), composite, truth)
    return [picture.convert("RGB") for picture in pictures]


def overview(pictures: Sequence[Image.Image], side: int = 256) -> Image.Image:
    """A row with a title above each picture. Small ones are enlarged by a whole factor without smoothing, up to `side` pixels."""
    factor = max(1, side // max(pictures[0].size))
    width, height = pictures[0].width * factor, pictures[0].height * factor
    sheet = Image.new("RGB", (_GAP + len(pictures) * (width + _GAP), _TITLE + height + _GAP), _PAPER)
    write = ImageDraw.Draw(sheet)
    for i, (title, picture) in enumerate(zip(TITLES, pictures, strict=True)):
        x = _GAP + i * (width + _GAP)
        write.text((x + width / 2, _TITLE / 2), title, fill=_INK, anchor="mm", font_size=13)
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, _TITLE))
    return sheet
