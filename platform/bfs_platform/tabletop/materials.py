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

    first, second = (np.array(colour, np.float32) for colour in surface.colours)
    cells = np.array([[first, second], [second, first]] if surface.pattern == "checker" else [[first, second]], np.float32)
    return {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(cells)), "raw": True, "filter_type": "nearest"}


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
