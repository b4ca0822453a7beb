"""The shapes are solid bodies that stand on the table."""

import numpy as np
import pytest

from bfs_platform.tabletop.meshes import mesh, placed
from bfs_platform.tabletop.vocabulary import SHAPES


def _corners(shape: str) -> np.ndarray:
    unit = mesh(shape)
    return unit.vertices[unit.faces].astype(np.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_faces_outwards(shape: str) -> None:
    """Every triangle is wound the way its unit normals point, and the enclosed volume is positive: glass depends on both."""
    unit, corners = mesh(shape), _corners(shape)
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.all(np.sum(facing * unit.normals[unit.faces].sum(axis=1), axis=1) > 0)
    np.testing.assert_allclose(np.linalg.norm(unit.normals, axis=1), 1, atol=1e-5)
    assert np.sum(corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])) / 6 > 0.05


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in ("cup", "teapot")])
def test_a_shape_is_closed(shape: str) -> None:
    """The areas of a closed surface cancel (cup and teapot are left out: the ends of their handles are open, inside their walls)."""
    corners = _corners(shape)
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    np.testing.assert_allclose(facing.sum(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_stands_on_the_table(shape: str) -> None:
    """The lowest point is z = 0, and the longest side is about 1; a teapot is wider, by its spout and handle."""
    vertices = mesh(shape).vertices
    assert vertices[:, 2].min() == pytest.approx(0, abs=1e-6)
    assert 0.8 < np.ptp(vertices, axis=0).max() < (1.25 if shape == "teapot" else 1.15)


def test_the_volumes_are_those_of_the_bodies() -> None:
    """A cube, a pyramid and a sphere enclose what the textbook says."""
    volumes = {}
    for shape in ("cube", "pyramid", "sphere"):
        corners = _corners(shape)
        volumes[shape] = np.sum(corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volumes["cube"] == pytest.approx(0.82**3, rel=1e-5)
    assert volumes["pyramid"] == pytest.approx(0.96**2 * 0.9 / 3, rel=1e-5)
    assert volumes["sphere"] == pytest.approx(np.pi / 6, rel=0.01)


def test_placing_scales_turns_and_moves() -> None:
    """A quarter turn brings the handle of a cup from +x to +y; normals turn along and keep their length."""
    cup, moved = mesh("cup"), placed("cup", 2.0, -1.0, np.pi / 2, 0.5)
    farthest = moved.vertices[cup.vertices[:, 0].argmax()]
    np.testing.assert_allclose(farthest[:2], [2.0, -1.0 + 0.5 * cup.vertices[:, 0].max()], atol=1e-5)
    np.testing.assert_allclose(moved.normals[:, 1], cup.normals[:, 0], atol=1e-5)
