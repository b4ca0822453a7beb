"""The shapes that the second world adds: a vase, a mushroom, a teapot, a star and a heart."""

from collections.abc import Callable

import numpy as np

from bfs_platform.tabletop.surfaces import MeshData, arc, extruded, join, lathe, line, smooth, tube


def _vase() -> MeshData:
    outer = smooth(line((0.20, 0), (0.33, 0.22), (0.36, 0.42), (0.22, 0.68), (0.14, 0.82), (0.24, 1.0)))
    inner = outer[::-1] * (0.86, 1.0)
    inner = inner[inner[:, 1] > 0.06]
    bottom = line((inner[-1, 0], inner[-1, 1]), (0, inner[-1, 1]))
    return lathe(line((0, 0), (0.20, 0)), outer, np.stack([outer[-1], inner[0]]), inner, bottom)


def _mushroom() -> MeshData:
    stem = smooth(line((0.19, 0), (0.14, 0.2), (0.14, 0.44)))
    cap = arc(1.0, (0, 0), 0, 90, 17) * (0.47, 0.44) + (0, 0.44)
    cap[-1, 0] = 0
    return lathe(line((0, 0), (0.19, 0)), stem, line((0.14, 0.44), (0.47, 0.44)), cap)


def _teapot() -> MeshData:
    """The ends of spout and handle are hidden in the body, but for the mouth of the spout, which is a black hole."""
    body = smooth(line((0.22, 0), (0.35, 0.14), (0.38, 0.28), (0.30, 0.45), (0.19, 0.52)))
    lid = smooth(line((0.19, 0.52), (0.12, 0.58), (0.045, 0.60)))
    knob = arc(0.065, (0, 0.65), -50, 90, 9)
    knob[-1, 0] = 0
    spout = smooth(line((-0.30, 0.18), (-0.42, 0.24), (-0.48, 0.38), (-0.57, 0.52)))
    handle = smooth(line((0.30, 0.42), (0.48, 0.46), (0.56, 0.34), (0.50, 0.18), (0.33, 0.13)))
    return join(
        [
            lathe(line((0, 0), (0.22, 0)), body, lid, np.concatenate([lid[-1:], knob])),
            tube(spout, np.linspace(0.10, 0.045, len(spout))),
            tube(handle, np.full(len(handle), 0.042)),
        ]
    )


def _star() -> MeshData:
    angle = np.radians(90 + 36 * np.arange(10))
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(np.arange(10) % 2, 0.24, 0.53)[:, None]
    low = outline[:, 1].min()
    return extruded(outline - (0, low), (0.0, float(-low)), 0.13)


def _heart() -> MeshData:
    """The well-known curve x = 16 sin³ t, z = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    t = -np.radians(np.arange(0, 360, 7.5))
    x, z = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    outline = np.stack([x, z - z.min()], axis=1) / 32
    return extruded(outline, (0.0, 0.5), 0.16)


FIGURES: dict[str, Callable[[], MeshData]] = {
    "vase": _vase,
    "mushroom": _mushroom,
    "teapot": _teapot,
    "star": _star,
    "heart": _heart,
}
