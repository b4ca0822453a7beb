"""The shapes as triangle meshes: each stands on z = 0, centred on the z axis, its longest side about 1.

Normals point outwards and windings agree with them, which is what a refractive material needs.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

_SEGMENTS = 48  # around an axis: no corner is visible at 128 pixels


class MeshData(NamedTuple):
    """Float32 `vertices` [V, 3] and unit `normals` [V, 3], uint32 `faces` [F, 3]."""

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


@cache
def mesh(shape: str) -> MeshData:
    """The unit mesh of a shape in `vocabulary.SHAPES`."""
    return _BUILDERS[shape]()


def placed(shape: str, x: float, y: float, yaw: float, scale: float) -> MeshData:
    """The mesh of a shape, scaled, turned by `yaw` radians about z, and moved to (x, y, 0)."""
    unit = mesh(shape)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]], np.float64)
    vertices = unit.vertices @ turn.T * scale + np.array([x, y, 0.0])
    return MeshData(vertices.astype(np.float32), (unit.normals @ turn.T).astype(np.float32), unit.faces)


def _join(parts: Sequence[MeshData]) -> MeshData:
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
    faces = [part.faces + np.uint32(offset) for part, offset in zip(parts, offsets[:-1], strict=True)]
    return MeshData(np.concatenate([p.vertices for p in parts]), np.concatenate([p.normals for p in parts]), np.concatenate(faces))


def _moved(part: MeshData, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0, scale: float = 1.0) -> MeshData:
    vertices = part.vertices * scale + np.array([dx, dy, dz])
    return MeshData(vertices.astype(np.float32), part.normals, part.faces)


def _grid(points: np.ndarray, normals: np.ndarray) -> MeshData:
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


def _lathe(*profiles: np.ndarray) -> MeshData:
    """Revolve profiles of (radius, height) points about z; smooth within a profile, an edge between two.

    Walking along a profile, the outside is on the right hand.
    """
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    parts = []
    for profile in profiles:
        tangent = np.gradient(profile, axis=0)
        across = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        parts.append(_grid(_revolve(profile, angle), _revolve(across, angle)))
    return _join(parts)


def _revolve(profile: np.ndarray, angle: np.ndarray) -> np.ndarray:
    radius, height = profile[None, :, 0], np.broadcast_to(profile[None, :, 1], (len(angle), len(profile)))
    return np.stack([radius * np.cos(angle)[:, None], radius * np.sin(angle)[:, None], height], axis=-1)


def _line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64)


def _arc(radius: float, centre: tuple[float, float], start_deg: float, stop_deg: float, num_points: int) -> np.ndarray:
    angle = np.radians(np.linspace(start_deg, stop_deg, num_points))
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def _quad(corners: Sequence[Sequence[float]]) -> MeshData:
    """A flat polygon of three or four corners, counter-clockwise when seen from outside."""
    vertices = np.array(corners, np.float32)
    normal = np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])
    normal /= np.linalg.norm(normal)
    faces = np.array([[0, i, i + 1] for i in range(1, len(vertices) - 1)], np.uint32)
    return MeshData(vertices, np.tile(normal, (len(vertices), 1)).astype(np.float32), faces)


def _ball(radius: float) -> MeshData:
    profile = _arc(radius, (0, radius), -90, 90, 25)
    profile[[0, -1], 0] = 0
    return _lathe(profile)


def _sphere() -> MeshData:
    return _ball(0.5)


def _cube() -> MeshData:
    h = 0.41
    low = [(-h, -h, 0), (h, -h, 0), (h, h, 0), (-h, h, 0)]
    high = [(x, y, 2 * h) for x, y, _ in low]
    sides = [_quad([low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]]) for i in range(4)]
    return _join([*sides, _quad(low[::-1]), _quad(high)])


def _cylinder() -> MeshData:
    r, h = 0.34, 0.95
    return _lathe(_line((0, 0), (r, 0)), _line((r, 0), (r, h)), _line((r, h), (0, h)))


def _cone() -> MeshData:
    return _lathe(_line((0, 0), (0.46, 0)), _line((0.46, 0), (0, 1.0)))


def _capsule() -> MeshData:
    r = 0.25
    profile = np.concatenate([_arc(r, (0, r), -90, 0, 13), _arc(r, (0, 1 - r), 0, 90, 13)])
    profile[[0, -1], 0] = 0
    return _lathe(profile)


def _torus() -> MeshData:
    return _lathe(_arc(0.17, (0.36, 0.17), 0, 360, 33))


def _pyramid() -> MeshData:
    h = 0.48
    base = [(-h, -h, 0), (h, -h, 0), (h, h, 0), (-h, h, 0)]
    sides = [_quad([base[i], base[(i + 1) % 4], (0, 0, 0.9)]) for i in range(4)]
    return _join([*sides, _quad(base[::-1])])


def _snowman() -> MeshData:
    return _join([_ball(0.28), _moved(_ball(0.20), dz=0.50), _moved(_ball(0.13), dz=0.84)])


def _cup() -> MeshData:
    outer, inner, h, bottom = 0.34, 0.285, 0.78, 0.06
    wall = _lathe(
        _line((0, 0), (outer * 0.85, 0)),
        _line((outer * 0.85, 0), (outer, h)),
        _line((outer, h), (inner, h)),
        _line((inner, h), (inner * 0.85, bottom)),
        _line((inner * 0.85, bottom), (0, bottom)),
    )
    return _join([wall, _handle(0.20, 0.055, (0.33, 0.0, 0.42))])


def _handle(radius: float, thickness: float, centre: tuple[float, float, float]) -> MeshData:
    """Half a ring in the plane y = 0, open towards -x; its ends are hidden in the wall of the cup."""
    along = np.radians(np.linspace(-100, 100, 25))[:, None]
    around = np.radians(np.linspace(0, 360, 17))[None, :]
    out = np.stack([np.cos(along) * np.ones_like(around), np.zeros_like(along * around), np.sin(along) * np.ones_like(around)], -1)
    normals = out * np.cos(around)[..., None] + np.array([0.0, -1.0, 0.0]) * np.sin(around)[..., None]
    points = np.array(centre) + out * radius + normals * thickness
    return _grid(points, normals)


def _arch() -> MeshData:
    inner, outer, leg, depth = 0.24, 0.46, 0.46, 0.17
    turn = np.radians(np.linspace(0, 180, 25))
    bend = np.stack([np.cos(turn), np.sin(turn)], 1)
    path = np.concatenate([[[1.0, 0.0]], bend, [[-1.0, 0.0]]])
    lift = np.concatenate([[0.0], np.full(25, leg), [0.0]])

    def rim(radius: float, y: float) -> np.ndarray:
        return np.stack([path[:, 0] * radius, np.full(len(path), y), path[:, 1] * radius + lift], axis=1)

    def strip(first: np.ndarray, second: np.ndarray, normal: np.ndarray) -> MeshData:
        return _grid(np.stack([first, second]), np.stack([normal, normal]))

    out = np.stack([path[:, 0], np.zeros(len(path)), path[:, 1]], axis=1)
    front = np.tile([0.0, -1.0, 0.0], (len(path), 1))
    feet = [
        _quad([(s * outer, -depth, 0), (s * inner, -depth, 0), (s * inner, depth, 0), (s * outer, depth, 0)][:: int(s)])
        for s in (1.0, -1.0)
    ]
    return _join(
        [
            strip(rim(outer, -depth), rim(inner, -depth), front),
            strip(rim(inner, depth), rim(outer, depth), -front),
            strip(rim(outer, depth), rim(outer, -depth), out),
            strip(rim(inner, -depth), rim(inner, depth), -out),
            *feet,
        ]
    )


_BUILDERS: dict[str, Callable[[], MeshData]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "capsule": _capsule,
    "torus": _torus,
    "pyramid": _pyramid,
    "snowman": _snowman,
    "cup": _cup,
    "arch": _arch,
}
