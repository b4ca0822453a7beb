"""Projection and shadows against values worked out by hand."""

import numpy as np
import pytest

from bfs_platform.tabletop.description import Camera, Light
from bfs_platform.tabletop.projection import extent, fraction_inside, project, shadow

# Two units in front of the origin, looking along +y, the frame spans 4 units there.
CAMERA = Camera((0.0, -2.0, 0.0), (0.0, 0.0, 0.0), 90.0)


def test_points_land_where_geometry_says() -> None:
    """The origin is the centre, +x is right, +z is up, and what is farther is smaller."""
    points = np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0], [1.0, 2.0, 0]])
    np.testing.assert_allclose(project(points, CAMERA), [[0.5, 0.5], [0.75, 0.5], [0.5, 0.25], [0.625, 0.5]], atol=1e-12)


def test_extent_is_the_longer_side() -> None:
    """A bar two units wide and one high fills half of a frame four units wide."""
    assert extent(np.array([[-1.0, 0, 0], [1.0, 0, 1.0]]), CAMERA) == pytest.approx(0.5)


def test_a_shadow_falls_away_from_the_light() -> None:
    """Half as high as the light, a point casts its shadow twice as far from the light's foot."""
    light = Light((0.0, 0.0, 4.0), 0.5, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(shadow(np.array([[1.0, 0.5, 2.0], [1.0, 0.5, 0.0]]), light), [[2.0, 1.0, 0.0], [1.0, 0.5, 0.0]])


def test_the_margin_counts_as_outside() -> None:
    """Of three points one is inside, one in the margin, one outside."""
    points = np.array([[0.0, 0, 0], [1.9, 0, 0], [2.1, 0, 0]])
    assert fraction_inside(points, CAMERA, margin=0.1) == pytest.approx(1 / 3)
    assert fraction_inside(points, CAMERA, margin=0.0) == pytest.approx(2 / 3)
