"""One scene with everything that file formats get wrong."""

import numpy as np
import pytest

from bfs_model.document.layers import LayerStack

PROMPT = 'a red ball,\n“glossy” <&> ü 赤い球 🔴 "quoted" \\ \x1b]'


def make_scene() -> LayerStack:
    """A background; a ball with a soft shadow, with provenance; layers off the canvas, hidden, multiplied, screened, empty."""
    width, height = 61, 47
    y, x = np.indices((height, width))
    background = np.dstack([x * 255 // width, y * 255 // height, (x * 7 + y * 3) % 256]).astype(np.uint8)
    ball = np.zeros((height, width, 4), np.uint8)
    shadow = 170 * np.exp(-(((x - 32) / 13) ** 2) - ((y - 34) / 4) ** 2)
    ball[..., 3] = np.where(shadow < 2, 0, shadow)
    ball[np.hypot(x - 28, y - 22) < 11] = [220, 40, 30, 255]
    patch = np.full((20, 18, 4), [128, 128, 128, 200], np.uint8)
    stack = LayerStack.new(background, name="Hintergründe")
    model = {"name": "tiny", "version": "3", "content_hash": "ab" * 32}
    facts = {"prompt": PROMPT, "seed": 2**63 + 7, "model": model, "parameters": {"steps": 4, "guidance": 30.5, "nested": {"a": [1, None]}}}
    stack.add(ball, "赤い球 🔴", box=(15, 9, 45, 40), **facts)
    stack.add(patch, "Схема тени", x=-9, y=-5, opacity=0.4, blend_mode="multiply", box=(0, 0, 9, 9), seed=0)
    stack.add(patch, "hidden é", x=50, y=40, visible=False)
    stack.add(patch, "screen", x=44, y=30, opacity=0.1234, blend_mode="screen")
    stack.add(patch, "outside", x=70, y=-90)
    stack.add(np.zeros((height, width, 4), np.uint8), "nothing", box=(3, 4, 5, 6))
    return stack


@pytest.fixture
def scene() -> LayerStack:
    return make_scene()
