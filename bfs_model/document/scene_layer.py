"""What a scene says: the pictures that it names, and one layer to be drawn or given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bfs_model.document.layer import PARTS
from bfs_model.picture.boxes import Box


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

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that it can have in a document: its own, or those of its two parts."""
        return (self.name, *(f"{self.name}-{part}" for part in PARTS))

    @property
    def appearance(self) -> dict[str, Any]:
        return {"opacity": self.opacity, "blend_mode": self.blend_mode, "visible": self.visible}
