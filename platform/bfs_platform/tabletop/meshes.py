"""The shapes as triangle meshes: each stands on z = 0, centred on the z axis, its longest side about 1."""

from collections.abc import Callable
from functools import cache

import numpy as np

from bfs_platform.tabletop.figures import FIGURES
from bfs_platform.tabletop.surfaces import MeshData, arc, grid, join, lathe, line, moved, quad


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


def _ball(radius: float) -> MeshData:
    profile = arc(radius, (0, radius), -90, 90, 25)
    profile[[0, -1], 0] = 0
    return lathe(profile)


def _sphere() -> MeshData:
    return _ball(0.5)


def _cube() -> MeshData:
    h = 0.41
    low = [(-h, -h, 0), (h, -h, 0), (h, h, 0), (-h, h, 0)]
    high = [(x, y, 2 * h) for x, y, _ in low]
    sides = [quad([low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]]) for i in range(4)]
    return join([*sides, quad(low[::-1]), quad(high)])


def _cylinder() -> MeshData:
    r, h = 0.34, 0.95
    return lathe(line((0, 0), (r, 0)), line((r, 0), (r, h)), line((r, h), (0, h)))


def _cone() -> MeshData:
    return lathe(line((0, 0), (0.46, 0)), line((0.46, 0), (0, 1.0)))


def _capsule() -> MeshData:
    r = 0.25
    profile = np.concatenate([arc(r, (0, r), -90, 0, 13), arc(r, (0, 1 - r), 0, 90, 13)])
    profile[[0, -1], 0] = 0
    return lathe(profile)


def _torus() -> MeshData:
    return lathe(arc(0.17, (0.36, 0.17), 0, 360, 33))


def _pyramid() -> MeshData:
    h = 0.48
    base = [(-h, -h, 0), (h, -h, 0), (h, h, 0), (-h, h, 0)]
    sides = [quad([base[i], base[(i + 1) % 4], (0, 0, 0.9)]) for i in range(4)]
    return join([*sides, quad(base[::-1])])


def _snowman() -> MeshData:
    return join([_ball(0.28), moved(_ball(0.20), dz=0.50), moved(_ball(0.13), dz=0.84)])


def _cup() -> MeshData:
    outer, inner, h, bottom = 0.34, 0.285, 0.78, 0.06
    wall = lathe(
        line((0, 0), (outer * 0.85, 0)),
        line((outer * 0.85, 0), (outer, h)),
        line((outer, h), (inner, h)),
        line((inner, h), (inner * 0.85, bottom)),
        line((inner * 0.85, bottom), (0, bottom)),
    )
    return join([wall, _handle(0.20, 0.055, (0.33, 0.0, 0.42))])


def _handle(radius: float, thickness: float, centre: tuple[float, float, float]) -> MeshData:
    """Half a ring in the plane y = 0, open towards -x; its ends are hidden in the wall of the cup."""
    along = np.radians(np.linspace(-100, 100, 25))[:, None]
    around = np.radians(np.linspace(0, 360, 17))[None, :]
    out = np.stack([np.cos(along) * np.ones_like(around), np.zeros_like(along * around), np.sin(along) * np.ones_like(around)], -1)
    normals = out * np.cos(around)[..., None] + np.array([0.0, -1.0, 0.0]) * np.sin(around)[..., None]
    points = np.array(centre) + out * radius + normals * thickness
    return grid(points, normals)


def _arch() -> MeshData:
    inner, outer, leg, depth = 0.24, 0.46, 0.46, 0.17
    turn = np.radians(np.linspace(0, 180, 25))
    bend = np.stack([np.cos(turn), np.sin(turn)], 1)
    path = np.concatenate([[[1.0, 0.0]], bend, [[-1.0, 0.0]]])
    lift = np.concatenate([[0.0], np.full(25, leg), [0.0]])

    def rim(radius: float, y: float) -> np.ndarray:
        return np.stack([path[:, 0] * radius, np.full(len(path), y), path[:, 1] * radius + lift], axis=1)

    def strip(first: np.ndarray, second: np.ndarray, normal: np.ndarray) -> MeshData:
        return grid(np.stack([first, second]), np.stack([normal, normal]))

    out = np.stack([path[:, 0], np.zeros(len(path)), path[:, 1]], axis=1)
    front = np.tile([0.0, -1.0, 0.0], (len(path), 1))
    feet = [
        quad([(s * outer, -depth, 0), (s * inner, -depth, 0), (s * inner, depth, 0), (s * outer, depth, 0)][:: int(s)]) for s in (1.0, -1.0)
    ]
    return join(
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
    **FIGURES,
}
