"""The window: the square of the picture around a box that the model sees, at the model's own size.

A picture of any size is cut to a window, the model paints a layer in it, and the layer is put back at full resolution.
The background itself is never resampled, so it stays bit-identical wherever the layer's alpha is 0.
"""

from dataclasses import dataclass

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import resize, resize_rgba
from bfs_model.picture.images import to_float, to_u8

BOX_SHARE = 0.45  # of the window's side: the rest is room for shadows and reflections, and context for the model
MAX_ENLARGEMENT = 4  # a window shows no less than size / 4 pixels of the picture, however small the box
INVISIBLE = 1 / 512  # an alpha that 8 bits round to 0 is 0
BAND_PIXELS = 2**21  # a layer is put back in bands of this many pixels: 32 MiB of float RGBA


@dataclass(frozen=True, slots=True)
class Window:
    """A square of `side` × `side` picture pixels at (`x`, `y`), shown to the model as `size` × `size`.

    It may reach beyond the picture: those pixels repeat the picture's edge on the way in and are dropped on the way out.
    """

    image_width: int
    image_height: int
    size: int
    x: int
    y: int
    side: int
    box: Box
    """The box in window pixels: at least 1 × 1, inside 0 … size."""

    @classmethod
    def around(cls, box: Box, image_width: int, image_height: int, *, size: int, context: float = BOX_SHARE) -> "Window":
        """Choose the window for `box`.

        A picture that fits into `size` × `size` is taken whole and is not resampled. Otherwise the window is centred on the
        box, whose longer side takes the share `context` of it, and is moved into the picture as far as it fits.

        Args:
            box: where the object goes, inside the picture.
            size: side of the model's input in pixels.
            context: 0 < context <= 1; smaller shows the model more surroundings.

        Raises `BadInput` when the box leaves the picture.
        """
        box.within(image_width, image_height)
        if size < 1 or not 0 < context <= 1:
            raise BadInput("window", f"size {size}, context {context}", "is not a window", "give size >= 1 and 0 < context <= 1")
        longest = max(image_width, image_height)
        if longest <= size:
            side = size
        else:
            wanted = round(max(box.width, box.height) / context)
            side = min(max(wanted, -(-size // MAX_ENLARGEMENT)), longest)
        x = _start((box.x0 + box.x1 - side) // 2, side, image_width)
        y = _start((box.y0 + box.y1 - side) // 2, side, image_height)
        x0, x1 = _inside(box.x0 - x, box.x1 - x, side, size)
        y0, y1 = _inside(box.y0 - y, box.y1 - y, side, size)
        return cls(image_width, image_height, size, x, y, side, Box(x0, y0, x1, y1))

    def crop(self, background: np.ndarray) -> np.ndarray:
        """What the model sees: [H, W, C], float in [0, 1] or uint8 -> float32 [size, size, C]. Exact copy when side == size."""
        assert background.shape[:2] == (self.image_height, self.image_width), "the background has another size than the window was made for"
        columns, rows = self._span(self.x, self.image_width), self._span(self.y, self.image_height)
        # Cut before converting: a whole photograph in float would take twelve bytes per pixel.
        near = to_float(background[rows.low : rows.high, columns.low : columns.high])
        if self.side == self.size:
            seen = near
        else:
            part = (columns.start - columns.low, rows.start - rows.low, columns.stop - columns.low, rows.stop - rows.low)
            seen = np.clip(resize(near, columns.count, rows.count, part), 0, 1)
        margins = [(span.first, self.size - span.first - span.count) for span in (rows, columns)]
        return np.pad(seen, (*margins, (0, 0)), mode="edge")

    def place(self, layer: np.ndarray) -> np.ndarray:
        """Put a layer back: straight RGBA float [size, size, 4] -> float32 [H, W, 4], zero outside the window."""
        canvas = np.zeros((self.image_height, self.image_width, 4), np.float32)
        self._place_into(canvas, layer)
        return canvas

    def place_u8(self, layer: np.ndarray) -> np.ndarray:
        """`place` as uint8, band by band: never holds the whole canvas in float."""
        canvas = np.zeros((self.image_height, self.image_width, 4), np.uint8)
        self._place_into(canvas, layer)
        return canvas

    def _place_into(self, canvas: np.ndarray, layer: np.ndarray) -> None:
        assert layer.shape == (self.size, self.size, 4), f"expected {self.size}x{self.size}x4, got {layer.shape}"
        layer = layer.astype(np.float32)
        x0, x1 = max(self.x, 0), min(self.x + self.side, self.image_width)
        y0, y1 = max(self.y, 0), min(self.y + self.side, self.image_height)
        num_rows = max(BAND_PIXELS // (x1 - x0), 1)
        for top in range(y0, y1, num_rows):
            bottom = min(top + num_rows, y1)
            band = self._resampled(layer, x0, top, x1, bottom)
            band = np.where(band[..., 3:4] < INVISIBLE, np.float32(0), band)
            canvas[top:bottom, x0:x1] = to_u8(band) if canvas.dtype == np.uint8 else band

    def _resampled(self, layer: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """A rectangle of the picture, in picture pixels, cut out of the layer: float32 [y1 - y0, x1 - x0, 4]."""
        if self.side == self.size:
            return layer[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]
        left, top, right, bottom = (
            min(distance * self.size / self.side, self.size) for distance in (x0 - self.x, y0 - self.y, x1 - self.x, y1 - self.y)
        )
        return resize_rgba(layer, x1 - x0, y1 - y0, (left, top, right, bottom))

    def _span(self, start: int, length: int) -> "_Span":
        """Along one axis: the window pixels that lie wholly inside the picture, and the stretch of picture that they show."""
        if self.side == self.size:
            low, high = max(start, 0), min(start + self.side, length)
            return _Span(low - start, high - low, low, high, low, high)
        step = self.side / self.size
        first = -(start * self.size // self.side) if start < 0 else 0
        last = min((length - start) * self.size // self.side, self.size)
        begin, end = max(start + first * step, 0.0), min(start + last * step, float(length))
        if last <= first:  # the picture is thinner than one window pixel, which then shows all of it
            first = min((length // 2 - start) * self.size // self.side, self.size - 1)
            last, begin, end = first + 1, 0.0, float(length)
        reach = int(3 * max(step, 1)) + 1  # the filters look beyond the stretch by up to two steps
        return _Span(first, last - first, begin, end, max(int(begin) - reach, 0), min(int(end) + reach + 1, length))


@dataclass(frozen=True, slots=True)
class _Span:
    first: int  # window pixel
    count: int  # window pixels
    start: float | int  # picture pixels shown, fractions allowed
    stop: float | int
    low: int  # picture pixels to cut out for resampling
    high: int


def _start(wanted: int, side: int, length: int) -> int:
    """Move the window into the picture; centre the picture in a window that is larger."""
    return (length - side) // 2 if side >= length else min(max(wanted, 0), length - side)


def _inside(start: int, stop: int, side: int, size: int) -> tuple[int, int]:
    """Picture pixels -> window pixels, at least one of them."""
    first = min(round(start * size / side), size - 1)
    return first, min(max(round(stop * size / side), first + 1), size)
