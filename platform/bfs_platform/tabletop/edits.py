"""What editors do to a layer (move, scale, duplicate, recolour), done to the scene itself: the truth that an edited layer is held against.

An edit of a layer is a change of its pixels alone: a similarity of the picture around the point where the object stands, or a matrix of
linear colours, which exchanges one reflectance for another and leaves what is mirrored white. The scene's own edit is rendered anew,
with its light, shadow and reflections. Both are functions of the description.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bfs_platform.tabletop.description import Description, Thing
from bfs_platform.tabletop.meshes import placed
from bfs_platform.tabletop.projection import fraction_inside, project, shadow
from bfs_platform.tabletop.vocabulary import COLOURS

EDITS = ("move", "scale", "duplicate", "recolour")
SCALE = 0.75
_REACHES, _DIRECTIONS = (1.3, 1.1, 0.9, 0.7, 0.5, 0.35), 12


@dataclass(frozen=True, slots=True)
class Edit:
    """An edited scene, and the same as a change of the layer.

    `scale`, `origin`, `target`: a point p of the layer goes to `target + scale · (p − origin)`, in shares of the picture's sides.
    `kept`: the layer stays where it was as well. `colours`: rows of a 3 × 3 matrix on linear RGB, None for the colours as they are.
    """

    description: Description
    scale: float = 1.0
    origin: tuple[float, float] = (0.0, 0.0)
    target: tuple[float, float] = (0.0, 0.0)
    kept: bool = False
    colours: list[list[float]] | None = None

    def facts(self) -> dict[str, Any]:
        """As a record names the change of the layer."""
        return {
            "scale": self.scale,
            "origin": list(self.origin),
            "target": list(self.target),
            "kept": self.kept,
            "colours": self.colours,
        }


def edits_of(description: Description) -> dict[str, Edit]:
    """All edits of a scene by name; those that move the object are left out where there is no free place for it."""
    thing = description.target
    foot = _foot(description, thing)
    smaller = replace(thing, scale=thing.scale * SCALE)
    found = {"scale": Edit(replace(description, target=smaller), SCALE, foot, foot)}
    moved = next(_places(description), None)
    if moved is not None:
        found["move"] = Edit(replace(description, target=moved), _nearness(description, moved), foot, _foot(description, moved))
    second = next(_places(description, (*description.others, thing)), None)
    if second is not None:
        copied = replace(description, others=(*description.others, second))
        found["duplicate"] = Edit(copied, _nearness(description, second), foot, _foot(description, second), kept=True)
    colour = _other_colour(thing.combination.colour)
    painted = replace(thing, combination=thing.combination._replace(colour=colour))
    exchange = _exchange(COLOURS[thing.combination.colour], COLOURS[colour])
    found["recolour"] = Edit(replace(description, target=painted), origin=foot, target=foot, colours=exchange)
    return {name: found[name] for name in EDITS if name in found}


def _places(description: Description, others: Sequence[Thing] | None = None) -> Iterator[Thing]:
    """The object at free places of the table, the farthest first: whole in the picture with most of its shadow, clear of `others`."""
    thing, camera = description.target, description.camera
    others = description.others if others is None else others
    for reach in _REACHES:
        for number in range(_DIRECTIONS):
            angle = 2 * math.pi * (number + description.sampler_seed % _DIRECTIONS) / _DIRECTIONS
            moved = replace(thing, x=thing.x + reach * math.cos(angle), y=thing.y + reach * math.sin(angle))
            points = _vertices(moved)
            cast = shadow(points, description.lights[0])
            inside = fraction_inside(points, camera, margin=0.02) == 1 and fraction_inside(cast, camera, margin=0.0) > 0.8
            apart = all(math.hypot(moved.x - o.x, moved.y - o.y) > 0.55 * (moved.scale + o.scale) for o in others)
            if inside and apart and _before_walls(description, moved):
                yield moved


def _before_walls(description: Description, thing: Thing) -> bool:
    sides = (
        (thing.x - wall.position[0]) * math.cos(wall.yaw) + (thing.y - wall.position[1]) * math.sin(wall.yaw) for wall in description.walls
    )
    return all(side > 0.65 * thing.scale for side in sides)


def _vertices(thing: Thing) -> np.ndarray:
    return placed(thing.combination.shape, thing.x, thing.y, thing.yaw, thing.scale).vertices.astype(np.float64)


def _foot(description: Description, thing: Thing) -> tuple[float, float]:
    """Where the object stands, in shares of the picture's sides."""
    x, y = project(np.array([[thing.x, thing.y, 0.0]]), description.camera)[0]
    return float(x), float(y)


def _nearness(description: Description, moved: Thing) -> float:
    """How much larger the object appears where it was moved."""
    return _distance(description, description.target) / _distance(description, moved)


def _distance(description: Description, thing: Thing) -> float:
    """How far the object's foot is from the camera, along its view."""
    origin = np.array(description.camera.origin)
    forward = np.array(description.camera.target) - origin
    return float((np.array([thing.x, thing.y, 0.0]) - origin) @ forward / np.linalg.norm(forward))


def _exchange(before: Sequence[float], after: Sequence[float]) -> list[list[float]]:
    """The matrix that takes s · `before` + w · white to s · `after` + w · white: shading is kept, and so are highlights."""
    white = np.ones(3)
    matrix = np.stack([after, white], axis=1) @ np.linalg.pinv(np.stack([before, white], axis=1))
    return [[float(value) for value in row] for row in matrix]


def _other_colour(colour: str) -> str:
    """Another colour, the same for every object of this one: half of the list further on."""
    names = list(COLOURS)
    return names[(names.index(colour) + len(names) // 2) % len(names)]
