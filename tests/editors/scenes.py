"""Documents that hold what editors and file formats get wrong, one subject each."""

from collections.abc import Callable

import numpy as np

from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack

NAMES = {
    "chinese": "红色的球，在桌上",
    "japanese": "赤いボール（影）ｶﾞ",
    "beyond the first plane": "𠮷野家 𝔟𝔣𝔰",
    "korean in parts": "\u1107\u1161\u11ab\u110b\u1161\u11ab",
    "arabic": "كرة حمراء ٣ مع ظِلّ",
    "hebrew and digits": "כדור 12 אדום (צל)",
    "turned round": "abc \u202edef\u202c ghi",
    "devanagari": "लाल गेंद क्षि",
    "thai": "ลูกบอลสีแดงน้ำ",
    "cyrillic": "Красный шар, тень",
    "combining": "e\u0301 a\u0308\u0323 Z\u0351\u036b\u0343",
    "precomposed": "é ǟ ﬁ",
    "emoji": "🔴 👩🏽‍🚀 🏳️‍🌈 🇩🇪 1️⃣",
    "invisible": "a\u200bb\u00adc\ufeffd",
    "markup": "<layer name=\"x\" & 'y'> &amp; ]]>",
    "paths": "a/b\\c:*?|%20",
    "long": "長" * 250,
    "long beyond the first plane": "🔴" * 125,
    "the same": "twice",
    "the same again": "twice",
}
OPACITIES = (0.0, 1 / 255, 0.1234, 0.5, 254 / 255, 1.0)
MODES = ("normal", "multiply", "screen")


def noise(height: int, width: int, seed: int) -> np.ndarray:
    """RGBA of all values, uint8 [height, width, 4]; colours under alpha 0 are those of a layer that was cut, not noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = np.random.default_rng(seed + 1).permutation(np.arange(height * width) % 256).reshape(height, width)
    return pixels


def _room(width: int, height: int) -> LayerStack:
    y, x = np.indices((height, width))
    return LayerStack.new(np.dstack([x * 255 // width, y * 255 // height, (x * 7 + y * 3) % 256]).astype(np.uint8), "Hintergründe")


def names() -> LayerStack:
    """A layer for every name."""
    stack = _room(80, 60)
    for number, name in enumerate(NAMES.values()):
        stack.add(noise(5, 6, number), name, x=7 * (number % 10), y=9 * (number // 10))
    return stack


def looks() -> LayerStack:
    """Every mode with every opacity, seen and hidden."""
    stack = _room(97, 61)
    for row, mode in enumerate(MODES):
        for column, opacity in enumerate(OPACITIES):
            x, y = 16 * column, 20 * row
            stack.add(noise(17, 14, 6 * row + column), f"{mode} {opacity:.3f}", x=x, y=y, opacity=opacity, blend_mode=mode)
        stack.add(noise(9, 90, row), f"{mode} hidden", x=3, y=20 * row + 5, blend_mode=mode, visible=False)
    return stack


def places() -> LayerStack:
    """Off every edge, larger than the canvas, far away, one pixel, and nothing at all."""
    stack = _room(53, 41)
    for name, x, y in (("top left", -7, -9), ("bottom right", 47, 33), ("far", 20_000, -20_000), ("outside", -11, 5)):
        stack.add(noise(13, 11, len(name)), name, x=x, y=y)
    stack.add(noise(83, 101, 5), "larger", x=-20, y=-30, opacity=0.5)
    stack.add(np.full((1, 1, 4), [10, 20, 30, 99], np.uint8), "one pixel", x=52, y=40)
    stack.add(np.zeros((41, 53, 4), np.uint8), "nothing", box=(3, 4, 5, 6))
    return stack


def groups() -> LayerStack:
    """Groups whose layers blend with what is below the group, beside each other, of the same name, and with hidden layers."""
    stack = _room(71, 59)
    rows = [
        ("شجرة 木 🌳", "effects", "multiply", 0.7, True),
        ("شجرة 木 🌳", "object", "normal", 1.0, True),
        ("e\u0301 <&> /", "alone", "screen", 0.4, True),
        (None, "between", "normal", 0.9, True),
        ("e\u0301 <&> /", "same group again", "normal", 0.3, False),
        ("e\u0301 <&> /", "above it", "multiply", 1.0, True),
        ("hidden", "one", "normal", 1.0, False),
        ("hidden", "two", "normal", 1.0, False),
    ]
    for number, (group, name, mode, opacity, visible) in enumerate(rows):
        facts = {"opacity": opacity, "blend_mode": mode, "visible": visible, "group": group}
        stack.add(noise(22, 30, number), name, x=8 * number - 5, y=6 * number - 3, **facts)
    return stack


def clear() -> LayerStack:
    """No opaque background: the picture itself stays transparent in places."""
    layers = [Layer(noise(16, 16, 1), 0, 0, "all levels"), Layer(noise(16, 20, 2), 5, 7, "over it", opacity=0.5)]
    return LayerStack(37, 29, layers)


def small() -> LayerStack:
    """One pixel."""
    return LayerStack.new(np.full((1, 1, 3), [1, 2, 254], np.uint8), "1")


SCENES: dict[str, Callable[[], LayerStack]] = {f.__name__: f for f in (names, looks, places, groups, clear, small)}
