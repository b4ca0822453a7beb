"""Layers over layers: Eq. 1 over an opaque backdrop, the W3C formulas elsewhere."""

import numpy as np
import pytest

from bfs_model.picture.blending import BLEND_MODES, blend
from bfs_model.picture.compositing import composite

RNG = np.random.default_rng(11)
LAYER = RNG.random((7, 5, 4), dtype=np.float32)
BACKDROP = RNG.random((7, 5, 4), dtype=np.float32)


def pixel(*values: float) -> np.ndarray:
    return np.array([[values]], np.float32)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", [0.25 * 0.8 + 0.75 * 0.5, 0.25 * 0.4 + 0.75 * 0.2]),
        ("multiply", [0.25 * (0.8 * 0.5) + 0.75 * 0.5, 0.25 * (0.4 * 0.2) + 0.75 * 0.2]),
        ("screen", [0.25 * (1 - 0.2 * 0.5) + 0.75 * 0.5, 0.25 * (1 - 0.6 * 0.8) + 0.75 * 0.2]),
    ],
)
def test_by_hand_over_an_opaque_backdrop(mode: str, expected: list[float]) -> None:
    """Alpha one half at opacity one half: a quarter of the blend, three quarters of what was there."""
    out = blend(pixel(0.8, 0.4, 0, 0.5), pixel(0.5, 0.2, 0, 1), mode, opacity=0.5)
    np.testing.assert_allclose(out[0, 0], [*expected, 0, 1], atol=1e-6)


@pytest.mark.parametrize("mode", BLEND_MODES)
def test_over_a_transparent_backdrop(mode: str) -> None:
    """Premultiplied, pixel by pixel: as·(1−ab)·Cs + as·ab·B(Cb, Cs) + (1−as)·ab·Cb, over as + ab − as·ab."""
    out = blend(LAYER, BACKDROP, mode)
    for row, column in np.ndindex(LAYER.shape[:2]):
        *cs, source = (float(v) for v in LAYER[row, column])
        *cb, under = (float(v) for v in BACKDROP[row, column])
        alpha = source + under - source * under
        assert out[row, column, 3] == pytest.approx(alpha, abs=1e-6)
        for channel, (s, b) in enumerate(zip(cs, cb, strict=True)):
            mixed = {"normal": s, "multiply": s * b, "screen": s + b - s * b}[mode]
            expected = (source * (1 - under) * s + source * under * mixed + (1 - source) * under * b) / alpha
            assert out[row, column, channel] == pytest.approx(expected, abs=1e-5)


def test_normal_over_opaque_is_eq_1_exactly() -> None:
    """Bit for bit: there is one owner of the equation."""
    rng = np.random.default_rng(12)
    layer, opaque = rng.random((2, 200, 500, 4), dtype=np.float32)
    opaque[..., 3] = 1
    layer[:2, :256, 3] = np.arange(256, dtype=np.float32) / 255
    out = blend(layer, opaque)
    assert np.array_equal(out[..., :3], composite(layer, opaque[..., :3]))
    assert (out[..., 3] == 1).all()


@pytest.mark.parametrize("mode", BLEND_MODES)
def test_a_clear_layer_changes_nothing(mode: str) -> None:
    """Bit for bit, over clear, half clear and opaque backdrops."""
    clear = LAYER.copy()
    clear[..., 3] = 0
    for alpha in (0.0, 0.3, 1.0):
        backdrop = BACKDROP.copy()
        backdrop[..., 3] = alpha
        assert np.array_equal(blend(clear, backdrop, mode), backdrop)
        assert np.array_equal(blend(LAYER, backdrop, mode, opacity=0.0), backdrop)


def test_over_nothing_a_layer_is_itself() -> None:
    """The first layer of a stack lies on a clear canvas."""
    nothing = np.zeros_like(LAYER)
    for mode in BLEND_MODES:
        np.testing.assert_allclose(blend(LAYER, nothing, mode), LAYER, atol=1e-6)
