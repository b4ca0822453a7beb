"""Procedural shadows and the arithmetic of shadows on white."""

import numpy as np
import pytest

from bfs_model.network.shadow import Ground, ProceduralShadow, blur, cast_shadow, contact_shadow, layer_from_white, over
from bfs_model.picture.compositing import composite


def standing_object(height: int = 53, width: int = 67) -> np.ndarray:
    """A red block, rows 13..36, columns 29..40, on nothing."""
    layer = np.zeros((height, width, 4), np.float32)
    layer[13:37, 29:41] = (0.8, 0.2, 0.1, 1.0)
    return layer


def test_same_seed_same_shadow_and_other_seed_another() -> None:
    """The shadow is a pure function of layer and seed."""
    layer, provider = standing_object(), ProceduralShadow()
    first = provider.add_shadow(layer, 11)
    np.testing.assert_array_equal(first, provider.add_shadow(layer, 11))
    assert np.abs(first - provider.add_shadow(layer, 12)).max() > 0.1


@pytest.mark.parametrize("seed", range(7))
def test_object_is_untouched_and_shadow_is_black_beside_it(seed: int) -> None:
    """Solid pixels keep colour and alpha; without reflection everything new is black, and some of it touches the ground."""
    layer = standing_object()
    out = ProceduralShadow(reflection_chance=0.0).add_shadow(layer, seed)
    solid = layer[..., 3] == 1
    np.testing.assert_allclose(out[solid], layer[solid], atol=1e-6)
    new = (out[..., 3] > 0) & ~solid
    assert np.all(out[new][:, :3] == 0)
    assert out[37, 30:40, 3].min() > 0.1, "the row below the object is in its contact shadow"
    assert out[..., 3][~solid].max() <= 0.9
    assert np.all(out[:8, :, 3] == 0), "nothing falls above the object"


def test_a_layer_without_object_stays_empty() -> None:
    """No object, no shadow."""
    assert not ProceduralShadow().add_shadow(np.zeros((17, 13, 4), np.float32), 1).any()


def test_cast_shadow_lands_where_the_projection_says() -> None:
    """A point h above the ground falls slant·h sideways and depth·h up: checked on one bright dot, by hand."""
    silhouette = np.zeros((61, 61), np.float32)
    silhouette[19:22, 19:22] = 1.0
    ground = Ground(line=50, height=40, width=3)
    shadow = cast_shadow(silhouette, ground, slant=0.5, depth=0.5, softness=0.1)
    row, column = np.unravel_index(shadow.argmax(), shadow.shape)
    # The dot's centre (20.5, 20.5) is 29.5 above the ground: it falls to row 50 − 14.75, column 20.5 + 14.75.
    assert abs(row + 0.5 - 35.25) <= 1 and abs(column + 0.5 - 35.25) <= 1


def test_cast_shadow_softens_with_distance() -> None:
    """The edge of a pole's shadow is steep at its foot and shallow at its tip."""
    silhouette = np.zeros((61, 61), np.float32)
    silhouette[10:50, 26:34] = 1.0
    shadow = cast_shadow(silhouette, Ground(50, 40, 8), slant=0.0, depth=0.9, softness=5.0)
    foot, tip = (np.abs(np.diff(shadow[row])).max() / shadow[row].max() for row in (48, 20))
    assert foot > 3 * tip


def test_contact_shadow_is_darkest_at_the_foot() -> None:
    """Darkness decays away from the ground line and stays within reach of the object's columns."""
    alpha = standing_object()[..., 3]
    shadow = contact_shadow(alpha, Ground(37, 24, 12))
    assert shadow[36:38, 35].min() > 0.5 > 0.05 > shadow[43, 35]
    assert shadow[37, :20].max() < 1e-3


def test_reflection_mirrors_the_object() -> None:
    """With reflection certain, red shows below the ground line and nothing changes the object."""
    layer = standing_object()
    provider = ProceduralShadow(strength=(0.0, 0.0), contact=(0.0, 0.0), reflection=(0.3, 0.3), reflection_chance=1.0)
    out = provider.add_shadow(layer, 5)
    np.testing.assert_allclose(out[38, 35, :3], (0.8, 0.2, 0.1), atol=1e-5)
    assert 0.15 < out[38, 35, 3] <= 0.3 and out[52, 35, 3] < 0.01


def test_over_composites_like_two_composites() -> None:
    """Laying two layers on a background one after the other equals laying their union on it."""
    draw = np.random.default_rng(5)
    top, bottom = draw.random((7, 11, 4), np.float32), draw.random((7, 11, 4), np.float32)
    background = draw.random((7, 11, 3), np.float32)
    np.testing.assert_allclose(composite(over(top, bottom), background), composite(top, composite(bottom, background)), atol=1e-5)


def test_layer_from_white_recovers_the_layer() -> None:
    """Object and black shadow drawn over white come back with their alphas, also where the object is half transparent."""
    layer = standing_object()
    layer[13:37, 29] = (0.4, 0.6, 0.2, 0.5)
    shadow = np.zeros_like(layer)
    shadow[33:41, 20:50, 3] = 0.37
    truth = over(layer, shadow)
    drawn = composite(truth, np.ones((*layer.shape[:2], 3), np.float32))
    out = layer_from_white(drawn, layer)
    np.testing.assert_allclose(out[..., 3], truth[..., 3], atol=1e-4)
    np.testing.assert_allclose(out[..., :3] * out[..., 3:], truth[..., :3] * truth[..., 3:], atol=1e-4)


def test_layer_from_white_ignores_paper_noise() -> None:
    """Darkness below 0.02 is white paper, not shadow."""
    layer = standing_object()
    drawn = composite(layer, np.full((53, 67, 3), 0.985, np.float32))
    np.testing.assert_array_equal(layer_from_white(drawn, layer)[..., 3], layer[..., 3])


def test_blur_keeps_mass_inside() -> None:
    """A dot spreads to a Gaussian of the same total."""
    plane = np.zeros((41, 43), np.float32)
    plane[20, 21] = 1.0
    out = blur(plane, 2.5)
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    rows = np.arange(41) - 20
    assert (out.sum(axis=1) * rows**2).sum() == pytest.approx(2.5**2, rel=0.05)
