"""What travels between ingress, coordinator and sampler, and the protocol of an engine.

Plain frozen data: it crosses process borders, so it holds bytes, numbers and text only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from PIL import Image

from bfs_serve.problems import Problem

REFERENCE = "reference"
_REMEDIES = {REFERENCE: ": a bundle that carries a reference encoder"}


class Canceled(Exception):
    """Raised inside an engine when the caller no longer wants the layer."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model: the name it was asked by, the version (content hash) it turned out to be, and what it can do."""

    name: str
    version: str
    capabilities: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`name@version`, as sent in the `X-BFS-Model` header."""
        return f"{self.name}@{self.version[:12]}"


@dataclass(frozen=True, slots=True)
class Order:
    """One layer to draw. Images are the uploaded files, already checked to be readable; the seed is already drawn."""

    background: bytes
    width: int
    height: int
    box: tuple[int, int, int, int]
    prompt: str
    seed: int
    steps: int | None = None
    reference: bytes | None = None
    split_effects: bool = False
    """Object and effects as two layers in the answer; any model will do, since its layer is split as it is answered."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities that the model must have."""
        return (REFERENCE,) * (self.reference is not None)

    @property
    def num_bytes(self) -> int:
        return len(self.background) + len(self.reference or b"")


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """What an engine draws: `layer`, straight RGBA, the size of the background. The composite follows from it by Eq. 1."""

    layer: Image.Image
    seed: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished layer as it is stored and answered: an RGBA PNG of full canvas size."""

    layer_png: bytes
    seed: int
    model: ModelInfo
    generation_s: float
    warnings: tuple[str, ...] = ()

    @property
    def num_bytes(self) -> int:
        return len(self.layer_png)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job. `id` counts from 1; `name` is queued, started, progress, succeeded, failed or canceled."""

    id: int
    name: str
    data: dict[str, Any] = field(default_factory=dict)

    FINAL: ClassVar[tuple[str, ...]] = ("succeeded", "failed", "canceled")

    @property
    def is_final(self) -> bool:
        return self.name in self.FINAL


# What a sampler tells: "started", (step, steps) after each step, and the end: a drawing or the reason why there is none.
Sampled = str | tuple[int, int] | Drawing | Problem


def unsupported(missing: list[str], model: ModelInfo | None) -> Problem:
    """The loaded model lacks a capability that the request needs."""
    errors = tuple({"pointer": f"/{need}", "detail": f"{need} is not something this model can do", "key": need} for need in missing)
    name = model.label if model else "The loaded model"
    remedies = [_REMEDIES[need] for need in missing if need in _REMEDIES]
    return Problem(
        "unsupported-by-model", f"{name} cannot do {', '.join(missing)}; leave it out or serve a model that can{''.join(remedies)}.", errors
    )


class Engine(Protocol):
    """Draws layers with one loaded model. One call at a time, always on the same thread."""

    info: ModelInfo

    def __init__(self, model: str) -> None:
        """Load `model` (a name, a folder or a registry URI). Raises `BadInput` when there is no such model."""

    @classmethod
    def locate(cls, model: str) -> str:
        """The exact version that `model` now means, without loading it. Raises `BadInput` when there is none."""

    def generate(
        self,
        background: Image.Image,
        box: tuple[int, int, int, int],
        prompt: str,
        seed: int,
        steps: int | None,
        on_step: Callable[[int, int], None],
        cancelled: Callable[[], bool],
        reference: Image.Image | None = None,
    ) -> Generation:
        """Draw one layer; a pure function of the arguments and the model.

        `reference`, a picture of the object, is given only to an engine whose model has the capability of that name.

        `on_step(done, total)` is called after each step. When `cancelled()` turns true, raise `Canceled` within one step.
        """
