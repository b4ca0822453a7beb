"""Draw scenes at random: a pure function of (seed, split, index, attempt)."""

import math
from collections.abc import Sequence

import numpy as np

from bfs_platform.tabletop.description import Camera, Description, Light, Surface, Thing, Vector, Wall
from bfs_platform.tabletop.meshes import placed
from bfs_platform.tabletop.projection import extent, fraction_inside, project, shadow
from bfs_platform.tabletop.vocabulary import DEFAULT_WORLD, SIZES, SPLITS, Combination, combinations

_FRAME = 2.4  # width of the picture at the object, in world units
_LIGHT_DISTANCE = 4.5
_KEY, _FILL, _AMBIENT = (0.52, 0.76), (0.15, 0.28), (0.12, 0.26)  # exitance of a white table lit by each alone

# How likely each pattern of a surface is, and the lowest elevation of a light: by world.
_PATTERNS = {
    1: {"plain": 0.5, "checker": 0.3, "stripes": 0.2},
    2: {"plain": 0.4, "checker": 0.2, "stripes": 0.12, "wood": 0.18, "dots": 0.1},
}
_LOWEST_LIGHT_DEG = {1: 42.0, 2: 36.0}

# Table and wall colours, muted so that the saturated objects stand out. Linear RGB.
_MUTED: tuple[Vector, ...] = (
    (0.62, 0.62, 0.62),
    (0.42, 0.42, 0.43),
    (0.66, 0.57, 0.44),
    (0.50, 0.36, 0.23),
    (0.45, 0.55, 0.64),
    (0.47, 0.58, 0.44),
    (0.66, 0.52, 0.50),
    (0.24, 0.26, 0.30),
    (0.72, 0.70, 0.64),
)


def draw(seed: int, split: str, index: int, attempt: int, world: int = DEFAULT_WORLD) -> Description | None:
    """Draw scene `index` of a split of a world, or None when this attempt places its object badly: then draw the next attempt.

    Raises `BadInput` for an unknown split.
    """
    allowed = combinations(split, world)
    rng = np.random.default_rng([seed, SPLITS[split], index, attempt])
    combination = allowed[int(rng.integers(len(allowed)))]
    size = str(rng.choice(list(SIZES)))
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(18, 48))
    fov_deg = rng.uniform(26, 44)
    distance = _FRAME / (2 * math.tan(math.radians(fov_deg) / 2))
    eye = _polar(azimuth, elevation, distance)
    straight = Camera(eye, (0.0, 0.0, 0.35), fov_deg)
    target = _sized(combination, _yaw(rng, combination.shape, azimuth), float(rng.uniform(*SIZES[size])), straight)
    walls, light_yaws = _draw_walls(rng, azimuth, _PATTERNS[world])
    lights = _draw_lights(rng, azimuth, light_yaws, _LOWEST_LIGHT_DEG[world])
    camera = _aim(rng, straight, target, lights[0])
    if camera is None:
        return None
    others = _draw_others(rng, target, camera, walls, combinations("train", world))
    floor = _draw_surface(rng, float(rng.choice([0.0, 0.0, rng.uniform(0.12, 0.4)])), _PATTERNS[world])
    sky = _draw_sky(rng)
    return Description(size, target, others, camera, lights, sky, floor, walls, sampler_seed=int(rng.integers(2**31)))


def _polar(azimuth: float, elevation: float, distance: float) -> Vector:
    flat = distance * math.cos(elevation)
    return (flat * math.cos(azimuth), flat * math.sin(azimuth), distance * math.sin(elevation))


def _yaw(rng: np.random.Generator, shape: str, azimuth: float) -> float:
    """Any direction, except that what is flat shows its face, a teapot its side and a cup its handle to a camera at `azimuth`."""
    turn = float(rng.uniform(-1, 1))
    if shape in ("arch", "star", "heart", "teapot"):
        return azimuth + math.pi / 2 + 0.9 * turn
    return azimuth + (2.2 if shape == "cup" else math.pi) * turn


def _sized(combination: Combination, yaw: float, fraction: float, camera: Camera) -> Thing:
    """Scale an object at the origin until its longer side fills `fraction` of the frame."""
    scale = 0.9
    for _ in range(4):  # nearly linear, so it converges at once
        scale *= fraction / extent(placed(combination.shape, 0, 0, yaw, scale).vertices, camera)
    return Thing(combination, 0.0, 0.0, yaw, scale)


def _vertices(thing: Thing) -> np.ndarray:
    return placed(thing.combination.shape, thing.x, thing.y, thing.yaw, thing.scale).vertices.astype(np.float64)


def _aim(rng: np.random.Generator, camera: Camera, target: Thing, key: Light) -> Camera | None:
    """Turn the camera so that the object and its shadow lie somewhere in the frame; None when no try succeeds."""
    points = _vertices(target)
    cast = shadow(points, key)
    middle = (points.mean(axis=0) + 0.35 * (cast.mean(axis=0) - points.mean(axis=0))).tolist()
    for _ in range(12):
        spread = rng.uniform(-0.4, 0.4, size=3) * (1.0, 1.0, 0.6)
        look = (middle[0] + spread[0], middle[1] + spread[1], middle[2] + spread[2])
        turned = Camera(camera.origin, (float(look[0]), float(look[1]), float(look[2])), camera.fov_deg)
        if fraction_inside(points, turned, margin=0.04) == 1.0 and fraction_inside(cast, turned, margin=0.02) > 0.9:
            return turned
    return None


def _draw_walls(rng: np.random.Generator, azimuth: float, patterns: dict[str, float]) -> tuple[tuple[Wall, ...], tuple[float, float]]:
    """No wall, one, or a corner behind the object; and the range of azimuths from which light can then come."""
    kind = rng.choice(["none", "one", "corner"], p=[0.4, 0.4, 0.2])
    if kind == "none":
        return (), (0.0, 2 * math.pi)
    surface = _draw_surface(rng, 0.0, patterns)
    turns = [rng.uniform(-0.5, 0.5)] if kind == "one" else [rng.uniform(0.35, 1.2)]
    if kind == "corner":
        turns.append(turns[0] - math.pi / 2)
    walls = []
    for turn in turns:
        yaw, away = azimuth + turn, rng.uniform(1.1, 2.2)
        walls.append(Wall((-away * math.cos(yaw), -away * math.sin(yaw), 0.0), yaw, surface))
    reach = 1.15 if kind == "one" else 0.6
    middle = sum(wall.yaw for wall in walls) / len(walls)
    return tuple(walls), (middle - reach, middle + reach)


def _draw_lights(rng: np.random.Generator, azimuth: float, yaws: tuple[float, float], lowest_deg: float) -> tuple[Light, ...]:
    """A key light, and with 30 % chance a weaker second one. Never from exactly behind the camera: that hides the shadow."""
    key_yaw = rng.uniform(*yaws)
    offset = (key_yaw - azimuth + math.pi) % (2 * math.pi) - math.pi
    if abs(offset) < 0.4:
        key_yaw += math.copysign(0.5, offset)
    lights = [_light(rng, key_yaw, rng.uniform(*_KEY), lowest_deg)]
    if rng.random() < 0.3:
        lights.append(_light(rng, rng.uniform(*yaws), rng.uniform(*_FILL), lowest_deg))
    return tuple(lights)


def _light(rng: np.random.Generator, yaw: float, exitance: float, lowest_deg: float) -> Light:
    elevation, radius = math.radians(rng.uniform(lowest_deg, 72)), float(rng.uniform(0.35, 0.85))
    warmth = rng.uniform(-0.12, 0.28)
    tint = np.array([1 + warmth, 1.0, 1 - 1.2 * warmth])
    tint /= tint @ np.array([0.2126, 0.7152, 0.0722])
    # exitance / π of a white horizontal patch = L · area · sin(elevation) / distance² / π
    radiance = exitance * math.pi * _LIGHT_DISTANCE**2 / ((2 * radius) ** 2 * math.sin(elevation))
    return Light(_polar(yaw, elevation, _LIGHT_DISTANCE), radius, _vector(tint * radiance))


def _draw_sky(rng: np.random.Generator) -> tuple[Vector, Vector]:
    level, tilt = rng.uniform(*_AMBIENT), rng.uniform(-0.10, 0.12)
    tint = np.array([1 - tilt, 1.0, 1 + tilt])
    return _vector(tint * level * 0.75), _vector(tint * level * 1.25)


def _draw_surface(rng: np.random.Generator, glossy: float, patterns: dict[str, float]) -> Surface:
    first, second = rng.choice(len(_MUTED), size=2, replace=False)
    pattern = str(rng.choice(list(patterns), p=list(patterns.values())))
    pair = (_jitter(rng, _MUTED[first]), _jitter(rng, _MUTED[second]))
    return Surface(pattern, pair, glossy, tile=float(rng.uniform(0.3, 0.7)), yaw=float(rng.uniform(0, 2 * math.pi)))


def _jitter(rng: np.random.Generator, colour: Vector) -> Vector:
    return _vector(np.clip(np.array(colour) * rng.uniform(0.85, 1.15, size=3), 0.05, 0.8))


def _draw_others(
    rng: np.random.Generator, target: Thing, camera: Camera, walls: tuple[Wall, ...], familiar: Sequence[Combination]
) -> tuple[Thing, ...]:
    """Up to three more objects, clear of each other and of the walls; places that do not fit are left empty.

    They are of the `familiar` combinations, those of the training split: one that is held out is never seen anywhere else.
    """
    things = [target]
    for _ in range(int(rng.integers(4))):
        combination = familiar[int(rng.integers(len(familiar)))]
        yaw, scale = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(0.45, 0.95))
        for _ in range(8):
            x, y = (float(v) for v in rng.uniform(-1.7, 1.7, size=2))
            thing = Thing(combination, x, y, yaw, scale)
            if all(_clear(thing, other) for other in things) and _visible(thing, target, camera, walls):
                things.append(thing)
                break
    return tuple(things[1:])


def _clear(thing: Thing, other: Thing) -> bool:
    return math.hypot(thing.x - other.x, thing.y - other.y) > 0.55 * (thing.scale + other.scale)


def _visible(thing: Thing, target: Thing, camera: Camera, walls: tuple[Wall, ...]) -> bool:
    """Whether an object stands in the frame, in front of all walls, and not before the target object."""
    centre = np.array([[thing.x, thing.y, 0.4 * thing.scale]])
    if fraction_inside(centre, camera, margin=0.05) < 1:
        return False
    for wall in walls:
        along = (thing.x - wall.position[0]) * math.cos(wall.yaw) + (thing.y - wall.position[1]) * math.sin(wall.yaw)
        if along < 0.65 * thing.scale:
            return False
    near, own = _box(thing, camera), _box(target, camera)
    overlap = np.clip(np.minimum(near[1], own[1]) - np.maximum(near[0], own[0]), 0, None).prod()
    in_front = thing.x * camera.origin[0] + thing.y * camera.origin[1] > 0
    return not in_front or overlap < 0.2 * np.prod(own[1] - own[0])


def _box(thing: Thing, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    places = project(_vertices(thing), camera)
    return places.min(axis=0), places.max(axis=0)


def _vector(values: np.ndarray) -> Vector:
    x, y, z = (float(v) for v in values)
    return (x, y, z)
