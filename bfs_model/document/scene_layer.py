"""What a scene says: the pictures that it names, and one layer to be drawn or given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bfs_model.document.layer import NAME_LENGTH, PARTS, printable
from bfs_model.picture.boxes import Box

BACKGROUND = "background"
NAME_ROOM = NAME_LENGTH - 10  # leaves some for the ids of its parts


def layer_name(text: str) -> str:
    """A text as the name of a layer, which becomes its id in a document."""
    return printable(text)[:NAME_ROOM].rstrip() or "Layer"


def first_taken(names: Sequence[str]) -> tuple[int, int | None] | None:
    """The first name that is also that of an earlier layer, or of a part of it: which one, and of which; None is the background."""
    taken: dict[str, int | None] = {BACKGROUND: None}
    for position, name in enumerate(names):
        for own in _ids(name):
            if own.casefold() in taken:
                return position, taken[own.casefold()]
        taken |= {own.casefold(): position for own in _ids(name)}
    return None


def _ids(name: str) -> tuple[str, ...]:
    return (name, *(f"{name}-{part}" for part in PARTS))


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that the scene names: RGB or RGBA, where it was read, and the sha256 of its bytes."""

    image: Image.Image
    path: Path
    sha256: str

    @property
    def file(self) -> str:
        """The file's name, which says nothing about the machine."""
        return self.path.name

    @property
    def facts(self) -> dict[str, str]:
        """What a document records about it."""
        return {"file": self.file, "sha256": self.sha256}


@dataclass(frozen=True, eq=False)
class SceneLayer:
    """One layer of a scene: to be drawn into `box` by `prompt` or `reference`, or given as `image` at `position`."""

    name: str
    box: Box | None = None
    prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    reference: Picture | None = None
    image: Picture | None = None
    position: tuple[int, int] = (0, 0)
    opacity: float | int = 1.0
    blend_mode: str = "normal"
    visible: bool = True
    split_effects: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", layer_name(self.name))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that it can have in a document: its own, or those of its two parts."""
        return _ids(self.name)

    @property
    def appearance(self) -> dict[str, Any]:
        return {"opacity": self.opacity, "blend_mode": self.blend_mode, "visible": self.visible}
