"""How the shapes are made: triangle meshes by revolving, sweeping and extruding outlines.

Normals point outwards and windings agree with them, which is what a refractive material needs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SEGMENTS = 48  # around an axis: no corner is visible at 128 pixels


class MeshData(NamedTuple):
    """Float32 `vertices` [V, 3] and unit `normals` [V, 3], uint32 `faces` [F, 3]."""

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


def join(parts: Sequence[MeshData]) -> MeshData:
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
    faces = [part.faces + np.uint32(offset) for part, offset in zip(parts, offsets[:-1], strict=True)]
    return MeshData(np.concatenate([p.vertices for p in parts]), np.concatenate([p.normals for p in parts]), np.concatenate(faces))


def moved(part: MeshData, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0, scale: float = 1.0) -> MeshData:
    vertices = part.vertices * scale + np.array([dx, dy, dz])
    return MeshData(vertices.astype(np.float32), part.normals, part.faces)


def grid(points: np.ndarray, normals: np.ndarray) -> MeshData:
    """Triangles over a grid of `points` [N, M, 3], each wound so that it faces the way its `normals` [N, M, 3] do."""
    num_rows, num_columns = points.shape[:2]
    index = np.arange(num_rows * num_columns).reshape(num_rows, num_columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    flat, flat_normals = points.reshape(-1, 3), normals.reshape(-1, 3)
    p, q, r = flat[faces[:, 0]], flat[faces[:, 1]], flat[faces[:, 2]]
    facing = np.cross(q - p, r - p)
    backwards = np.sum(facing * flat_normals[faces].sum(axis=1), axis=1) < 0
    faces = np.where(backwards[:, None], faces[:, ::-1], faces)
    faces = faces[np.linalg.norm(facing, axis=1) > 1e-9]  # a pole of a surface of revolution has no area
    return MeshData(flat.astype(np.float32), flat_normals.astype(np.float32), faces.astype(np.uint32))


def lathe(*profiles: np.ndarray) -> MeshData:
    """Revolve profiles of (radius, height) points about z; smooth within a profile, an edge between two.

    Walking along a profile, the outside is on the right hand.
    """
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    parts = []
    for profile in profiles:
        tangent = np.gradient(profile, axis=0)
        across = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        parts.append(grid(_revolve(profile, angle), _revolve(across, angle)))
    return join(parts)


def _revolve(profile: np.ndarray, angle: np.ndarray) -> np.ndarray:
    radius, height = profile[None, :, 0], np.broadcast_to(profile[None, :, 1], (len(angle), len(profile)))
    return np.stack([radius * np.cos(angle)[:, None], radius * np.sin(angle)[:, None], height], axis=-1)


def line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64)


def arc(radius: float, centre: tuple[float, float], start_deg: float, stop_deg: float, num_points: int) -> np.ndarray:
    angle = np.radians(np.linspace(start_deg, stop_deg, num_points))
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def quad(corners: Sequence[Sequence[float]]) -> MeshData:
    """A flat polygon of three or four corners, counter-clockwise when seen from outside."""
    vertices = np.array(corners, np.float32)
    normal = np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])
    normal /= np.linalg.norm(normal)
    faces = np.array([[0, i, i + 1] for i in range(1, len(vertices) - 1)], np.uint32)
    return MeshData(vertices, np.tile(normal, (len(vertices), 1)).astype(np.float32), faces)


def smooth(points: np.ndarray, steps: int = 6) -> np.ndarray:
    """A curve [(N - 1) · steps + 1, D] through `points` [N, D]: Catmull and Rom's spline, its ends as if they were doubled."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        pieces.append(b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.concatenate([*pieces, points[-1:]])


def tube(path: np.ndarray, radii: np.ndarray) -> MeshData:
    """A round tube about a `path` [N, 2] of (x, z) in the plane y = 0, as wide as `radii` [N]; its ends are open."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.stack([tangent[:, 1], np.zeros(len(path)), -tangent[:, 0]], axis=1)[:, None]
    around = np.radians(np.linspace(0, 360, 17))[None, :, None]
    normals = across * np.cos(around) + np.array([0.0, -1.0, 0.0]) * np.sin(around)
    centres = np.stack([path[:, 0], np.zeros(len(path)), path[:, 1]], axis=1)[:, None]
    return grid(centres + normals * radii[:, None, None], np.broadcast_to(normals, (len(path), 17, 3)))


def extruded(outline: np.ndarray, centre: tuple[float, float], depth: float) -> MeshData:
    """A plate from y = -`depth` to `depth` whose `outline` [N, 2] of (x, z) runs counter-clockwise and is seen whole from `centre`."""
    points = [(float(x), float(z)) for x, z in outline]
    parts = []
    for (x, z), (to_x, to_z) in zip(points, [*points[1:], points[0]], strict=True):
        near, far = [(x, -depth, z), (to_x, -depth, to_z)], [(to_x, depth, to_z), (x, depth, z)]
        parts += [
            quad([*near[::-1], *far[::-1]]),
            quad([(centre[0], -depth, centre[1]), *near]),
            quad([(centre[0], depth, centre[1]), *far]),
        ]
    return join(parts)
