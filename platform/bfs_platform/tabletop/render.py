"""Path-trace a scene description: with its object, without it, and the object's own mask and effects.

All three passes run Mitsuba's `scalar_rgb` variant in one thread, so equal descriptions give equal bytes.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from bfs_platform.tabletop.denoise import box3, denoise
from bfs_platform.tabletop.description import Camera, Description, Light, Surface, Thing, Vector, Wall
from bfs_platform.tabletop.materials import object_bsdf, rgb, surface_bsdf
from bfs_platform.tabletop.meshes import MeshData, placed

DEFAULT_SAMPLES = 48  # per pixel and pass
EFFECT_THRESHOLD = 0.035  # of the sRGB range, after a 3 × 3 mean: see `effect_of`
_MASK_SAMPLES = 16
_PARTS = 4
_TABLE_HALF_WIDTH, _WALL_HEIGHT = 12.0, 6.0


class Rendered(NamedTuple):
    """uint8 sRGB `source` (with the object) and `background` (without) [H, W, 3]; boolean `mask` and `effect` [H, W]."""

    source: np.ndarray
    background: np.ndarray
    mask: np.ndarray
    effect: np.ndarray


def render_mask(description: Description, resolution: int) -> np.ndarray:
    """Where the object itself is seen, as boolean [H, W]: at least half of the pixel, with what stands before it respected.

    The object alone glows in a black scene, so the antialiased picture of that scene is its coverage.
    """
    scene: dict[str, Any] = {"type": "scene", "integrator": {"type": "path", "max_depth": 1}}
    scene["sensor"] = _sensor(description.camera, resolution)
    scene["target"] = _mesh(_mesh_of(description.target), bsdf=_BLACK, emitter={"type": "area", "radiance": rgb((1.0, 1.0, 1.0))})
    for i, thing in enumerate(description.others):
        scene[f"other{i}"] = _mesh(_mesh_of(thing), bsdf=_BLACK)
    for i, wall in enumerate(description.walls):
        scene[f"wall{i}"] = _wall(wall, _BLACK)
    coverage = _render(_load(scene), description.sampler_seed, _MASK_SAMPLES)[..., 1]
    return coverage >= 0.5


def render(description: Description, resolution: int, mask: np.ndarray, samples: int = DEFAULT_SAMPLES) -> Rendered:
    """Render both pictures with one sampler seed and find the object's effects outside its `mask` [H, W]."""
    source, background = (_picture(_scene(description, resolution, shown), description.sampler_seed, samples) for shown in (True, False))
    return Rendered(source, background, mask, effect_of(source, background, mask))


def render_picture(description: Description, resolution: int, samples: int = DEFAULT_SAMPLES) -> np.ndarray:
    """The picture with its object alone, uint8 sRGB [H, W, 3], as `render` gives it."""
    return _picture(_scene(description, resolution, True), description.sampler_seed, samples)


def effect_of(source: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where the object changes the picture outside its mask: shadow, reflection, caustic, bleeding. Boolean [H, W].

    Both uint8 pictures are compared after a mean over those of 3 × 3 pixels that lie outside the mask, so that the object does
    not leak into its effects. A pixel counts when its largest channel differs by more than `EFFECT_THRESHOLD` (3.5 % of the
    range, 9 of 255 levels; what noise is left after denoising stays near 1 level on average). A 3 × 3 median then removes
    single specks. Along the object's outline, pixels that it covers by less than half count as effect.
    """
    difference = np.where(mask[..., None], 0.0, (source.astype(np.float64) - background) / 255)
    weight = box3(~mask[..., None] * np.ones(3))
    smooth = np.abs(box3(difference) / np.maximum(weight, 1e-6)).max(axis=-1)
    changed = (smooth > EFFECT_THRESHOLD) & ~mask
    cleaned = Image.fromarray((changed | mask).astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(3))
    return (np.asarray(cleaned) > 0) & changed


@cache
def _mitsuba() -> Any:
    """Mitsuba, loaded on first use, in one thread."""
    import drjit
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    drjit.set_thread_count(1)
    return mitsuba


def _load(description: dict[str, Any]) -> Any:
    """Build a Mitsuba object in a fixed order: the parallel loader and the optimiser order light sources by chance."""
    return _mitsuba().load_dict(description, parallel=False, optimize=False)


_BLACK = {"type": "diffuse", "reflectance": rgb((0.0, 0.0, 0.0))}


def _render(scene: Any, sampler_seed: int, samples: int) -> np.ndarray:
    return np.array(_mitsuba().render(scene, spp=samples, seed=sampler_seed % 2**31))


def _picture(scene: Any, sampler_seed: int, samples: int) -> np.ndarray:
    """A denoised uint8 sRGB picture [H, W, 3] out of `_PARTS` independent renderings that share `samples` per pixel."""
    parts = [_srgb(_render(scene, sampler_seed + part, max(1, samples // _PARTS))) for part in range(_PARTS)]
    return np.rint(denoise(np.stack(parts)) * 255).astype(np.uint8)


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Linear RGB to display-referred sRGB in [0, 1]."""
    linear = np.clip(linear[..., :3].astype(np.float64), 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _scene(description: Description, resolution: int, with_target: bool) -> Any:
    things = [*description.others] + ([description.target] if with_target else [])
    # Both pictures trace equally long paths: the deeper one would be brighter.
    glass = any(thing.combination.material == "glass" for thing in (*description.others, description.target))
    scene: dict[str, Any] = {"type": "scene", "integrator": {"type": "path", "max_depth": 8 if glass else 4}}
    scene["sensor"] = _sensor(description.camera, resolution)
    scene["sky"] = _sky(description.sky)
    scene["floor"] = _floor(description.floor)
    for i, wall in enumerate(description.walls):
        scene[f"wall{i}"] = _wall(wall, surface_bsdf(wall.surface), wall.surface.tile)
    for i, light in enumerate(description.lights):
        scene[f"light{i}"] = _light(light)
    for i, thing in enumerate(things):
        scene[f"thing{i}"] = _mesh(_mesh_of(thing), bsdf=object_bsdf(thing.combination))
    return _load(scene)


def _sensor(camera: Camera, resolution: int) -> dict[str, Any]:
    to_world = _mitsuba().ScalarTransform4f().look_at(origin=list(camera.origin), target=list(camera.target), up=[0, 0, 1])
    film = {"type": "hdrfilm", "width": resolution, "height": resolution, "pixel_format": "rgb", "rfilter": {"type": "box"}}
    sampler = {"type": "multijitter"}
    return {"type": "perspective", "fov": camera.fov_deg, "to_world": to_world, "film": film, "sampler": sampler}


def _sky(sky: tuple[Vector, Vector]) -> dict[str, Any]:
    """A smooth gradient from the horizon to overhead, so that metals have something to mirror."""
    mi = _mitsuba()
    horizon, zenith = (np.array(colour, np.float32) for colour in sky)
    up = np.clip(np.cos(np.linspace(0, np.pi, 16)), 0, 1)[:, None, None]
    rows = np.repeat((1 - up) * horizon + up * zenith, 32, axis=1).astype(np.float32)
    to_world = mi.ScalarTransform4f().rotate([1, 0, 0], 90)
    return {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(rows)), "to_world": to_world}


def _floor(surface: Surface) -> dict[str, Any]:
    transform = _mitsuba().ScalarTransform4f()
    to_world = transform.rotate([0, 0, 1], float(np.degrees(surface.yaw))).scale(_TABLE_HALF_WIDTH)
    return {"type": "rectangle", "to_world": to_world, "bsdf": _tiled(surface_bsdf(surface), surface.tile, 2 * _TABLE_HALF_WIDTH)}


def _wall(wall: Wall, bsdf: dict[str, Any], tile: float = 1.0) -> dict[str, Any]:
    position = np.array(wall.position)
    facing = position + np.array([np.cos(wall.yaw), np.sin(wall.yaw), 0.0])
    to_world = _mitsuba().ScalarTransform4f().look_at(origin=position.tolist(), target=facing.tolist(), up=[0, 0, 1])
    return {"type": "rectangle", "to_world": to_world.scale(_WALL_HEIGHT), "bsdf": _tiled(bsdf, tile, 2 * _WALL_HEIGHT)}


def _tiled(bsdf: dict[str, Any], tile: float, width: float) -> dict[str, Any]:
    """Repeat every bitmap inside `bsdf` so that one cell of it measures `tile` on a rectangle of `width`."""
    if bsdf.get("type") == "bitmap":
        repeat = width / (2 * tile)
        return bsdf | {"to_uv": _mitsuba().ScalarTransform3f().scale([repeat, repeat])}
    return {key: _tiled(value, tile, width) if isinstance(value, dict) else value for key, value in bsdf.items()}


def _light(light: Light) -> dict[str, Any]:
    to_world = _mitsuba().ScalarTransform4f().look_at(origin=list(light.position), target=[0, 0, 0], up=[0, 0, 1]).scale(light.radius)
    return {"type": "rectangle", "to_world": to_world, "emitter": {"type": "area", "radiance": rgb(light.radiance)}, "bsdf": _BLACK}


def _mesh_of(thing: Thing) -> MeshData:
    return placed(thing.combination.shape, thing.x, thing.y, thing.yaw, thing.scale)


def _mesh(data: MeshData, bsdf: dict[str, Any], emitter: dict[str, Any] | None = None) -> Any:
    mi = _mitsuba()
    properties = mi.Properties()
    properties["bsdf"] = _load(bsdf)
    if emitter is not None:
        properties["emitter"] = _load(emitter)
    mesh = mi.Mesh("mesh", len(data.vertices), len(data.faces), props=properties, has_vertex_normals=True)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = data.vertices.ravel()
    parameters["vertex_normals"] = data.normals.ravel()
    parameters["faces"] = data.faces.ravel()
    parameters.update()
    return mesh
