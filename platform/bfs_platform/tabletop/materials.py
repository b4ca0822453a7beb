"""Mitsuba plugin dictionaries for the materials of objects, tables and walls. Nothing here imports Mitsuba until it is called."""

from typing import Any

import numpy as np

from bfs_platform.tabletop.description import Surface, Vector
from bfs_platform.tabletop.vocabulary import COLOURS, Combination


def object_bsdf(combination: Combination) -> dict[str, Any]:
    """The look of an object, for `mitsuba.load_dict`."""
    return _OBJECTS[combination.material](COLOURS[combination.colour])


def surface_bsdf(surface: Surface) -> dict[str, Any]:
    """The look of a table or wall; its pattern repeats every unit of the texture coordinates."""
    base = {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": _pattern(surface)}}
    if surface.gloss == 0:
        return base
    mirror = {"type": "roughconductor", "material": "none", "distribution": "ggx", "alpha": 0.1}
    return {"type": "twosided", "bsdf": {"type": "blendbsdf", "weight": surface.gloss, "a": base["bsdf"], "b": mirror}}


def rgb(value: Vector | np.ndarray) -> dict[str, Any]:
    return {"type": "rgb", "value": [float(v) for v in value]}


def _pattern(surface: Surface) -> dict[str, Any]:
    if surface.pattern == "plain":
        return rgb(surface.colours[0])
    import mitsuba as mi

    cells = np.ascontiguousarray(_CELLS[surface.pattern](surface), np.float32)
    filter_type = "bilinear" if surface.pattern == "wood" else "nearest"
    return {"type": "bitmap", "bitmap": mi.Bitmap(cells), "raw": True, "filter_type": filter_type}


def _checker(surface: Surface) -> np.ndarray:
    first, second = surface.colours
    return np.array([[first, second], [second, first]])


def _stripes(surface: Surface) -> np.ndarray:
    return np.array([surface.colours])


def _dots(surface: Surface) -> np.ndarray:
    """Discs of the second colour in rows that are half a step apart."""
    first, second = (np.array(colour) for colour in surface.colours)
    y, x = (np.mgrid[:64, :64] + 0.5) / 32
    inside = np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.28
    shown = inside & ((x < 1) == (y < 1))
    return np.where(shown[..., None], second, first)


def _wood(surface: Surface) -> np.ndarray:
    """Four planks of the first colour, each of another tone, with grain along them; drawn from the surface's own numbers."""
    rng = np.random.default_rng([int(surface.tile * 1e9), int(surface.yaw * 1e9)])
    planks = []
    for tone in rng.uniform(0.72, 1.12, size=4):
        bent = np.cumsum(rng.normal(0, 0.25, 128))
        bent -= np.linspace(0, bent[-1], 128)  # the texture repeats: its ends meet
        rings = np.sin(np.arange(16)[:, None] * rng.uniform(0.9, 1.5) + bent + rng.uniform(0, 6.3))
        plank = tone * (1 + 0.07 * rings + 0.03 * rng.normal(size=(16, 1)))
        plank[0] *= 0.55  # the joint
        planks.append(plank)
    return np.clip(np.concatenate(planks)[..., None] * np.array(surface.colours[0]), 0.01, 0.9)


_CELLS = {"checker": _checker, "stripes": _stripes, "dots": _dots, "wood": _wood}


def _matte(colour: Vector) -> dict[str, Any]:
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": rgb(colour)}}


def _plastic(colour: Vector) -> dict[str, Any]:
    coat = {"type": "roughplastic", "distribution": "ggx", "alpha": 0.12, "int_ior": 1.5, "diffuse_reflectance": rgb(colour)}
    return {"type": "twosided", "bsdf": coat}


def _ceramic(colour: Vector) -> dict[str, Any]:
    return {"type": "twosided", "bsdf": {"type": "plastic", "int_ior": 1.9, "diffuse_reflectance": rgb(colour)}}


def _metal_tint(colour: Vector) -> np.ndarray:
    """Metals show their colour only through what they mirror, so a dark colour is lifted to stay nameable."""
    return np.array(colour) ** 0.75 * 0.92 + 0.015


def _metal(colour: Vector) -> dict[str, Any]:
    mirror = {"type": "roughconductor", "material": "none", "distribution": "ggx", "alpha": 0.04}
    return {"type": "twosided", "bsdf": mirror | {"specular_reflectance": rgb(_metal_tint(colour))}}


def _brushed_metal(colour: Vector) -> dict[str, Any]:
    rough = {"type": "roughconductor", "material": "none", "distribution": "ggx", "alpha": 0.2}
    return {"type": "twosided", "bsdf": rough | {"specular_reflectance": rgb(_metal_tint(colour))}}


def _glass(colour: Vector) -> dict[str, Any]:
    # Light crosses two interfaces, each taking its share of the tint.
    tint = np.array(colour) ** 0.4 * 0.9 + 0.1
    return {"type": "dielectric", "int_ior": 1.45, "specular_transmittance": rgb(tint)}


_OBJECTS = {
    "matte": _matte,
    "plastic": _plastic,
    "ceramic": _ceramic,
    "metal": _metal,
    "brushed metal": _brushed_metal,
    "glass": _glass,
}
