"""What a tabletop scene is, in plain data: z is up, the table is z = 0, the target object stands at the origin.

Colours and radiances are linear RGB; angles are radians unless a name says `_deg`.
"""

from dataclasses import dataclass

from bfs_platform.tabletop.vocabulary import Combination, caption

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object on the table."""

    combination: Combination
    x: float
    y: float
    yaw: float
    scale: float


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera with a square picture; `fov_deg` is its full angle."""

    origin: Vector
    target: Vector
    fov_deg: float


@dataclass(frozen=True, slots=True)
class Light:
    """A square area light of half-width `radius` that faces the origin."""

    position: Vector
    radius: float
    radiance: Vector


@dataclass(frozen=True, slots=True)
class Surface:
    """How the table or a wall looks: `plain`, `checker`, `stripes` or `dots` in two colours, or `wood` in the first.

    `gloss` in [0, 1] mirrors the room.
    """

    pattern: str
    colours: tuple[Vector, Vector]
    gloss: float
    tile: float
    yaw: float


@dataclass(frozen=True, slots=True)
class Wall:
    """A vertical plane through `position` that faces `yaw`."""

    position: Vector
    yaw: float
    surface: Surface


@dataclass(frozen=True, slots=True)
class Description:
    """A whole scene, a pure function of (seed, split, index, attempt)."""

    size: str
    target: Thing
    others: tuple[Thing, ...]
    camera: Camera
    lights: tuple[Light, ...]
    sky: tuple[Vector, Vector]  # radiance at the horizon and overhead
    floor: Surface
    walls: tuple[Wall, ...]
    sampler_seed: int

    @property
    def caption(self) -> str:
        return caption(self.size, self.target.combination)
