"""The protocol of an engine: one loaded model that draws. What travels through it is plain data and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from PIL import Image

from bfs_serve.job.orders import Box
from bfs_serve.telemetry.amounts import Amounts


class Canceled(Exception):
    """Raised inside an engine when nobody wants the layers any more."""


@dataclass(frozen=True, slots=True)
class Pin:
    """An exact version of a model: `uri` can be loaded from and never means another one; `version` names it to callers."""

    uri: str
    version: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model: the name it is asked by, its version (content hash), what it can do, and what its defaults are."""

    name: str
    version: str
    capabilities: tuple[str, ...] = ()
    default_steps: int = 28
    true_cfg_scale: float = 1.0
    window_size: int = 512
    vocabulary: dict[str, list[str]] | None = None
    """Words that prompts may use, by kind, where the model knows few."""
    licence: str | None = None

    @property
    def label(self) -> str:
        """`name@version`, as sent in the `X-BFS-Model` header."""
        return label(self.name, self.version)


def label(name: str, version: str) -> str:
    """`name@version`, the version shortened."""
    return f"{name}@{version[:12]}"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One layer to draw, or with `composite` to extract. Pictures are decoded: RGB, or RGBA for a reference."""

    background: Image.Image
    box: Box
    prompt: str
    seed: int
    composite: Image.Image | None = None
    reference: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What all requests of one call share. None: as the model has it."""

    steps: int | None = None
    true_cfg_scale: float | None = None
    step_cache: str = "none"
    joint_guidance: float = 0.0
    refit: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """What an engine draws: `layer`, straight RGBA, the size of the background. The composite follows from it by Eq. 1."""

    layer: Image.Image
    seed: int
    warnings: tuple[str, ...] = ()


Preview = Callable[[], Sequence[Image.Image]]
OnStep = Callable[[int, int, Preview | None], None]
"""Called with steps done, steps in all, and what shows the layers as they are so far, where the engine can."""


class Engine(Protocol):
    """Draws layers with one loaded model. One call at a time, always on the same thread."""

    info: ModelInfo
    batches_exactly: ClassVar[bool]
    """Whether requests that are drawn as one batch come out bit by bit as alone, so that jobs of several callers may be."""

    def __init__(self, name: str, pin: Pin) -> None:
        """Load exactly what `pin` says. Raises `BadInput` when it is gone, or is no longer that version."""

    @classmethod
    def locate(cls, name: str) -> Pin:
        """The version that `name` now means, without loading it. Raises `BadInput` when there is none."""

    def draw(self, requests: Sequence[Request], settings: Settings, on_step: OnStep, canceled: Callable[[], bool]) -> list[Generation]:
        """Draw all requests: each comes out as it would alone, a pure function of its request and the model.

        `on_step` is called after each step. When `canceled()` turns true, raise `Canceled` within one step.
        """

    def counted(self) -> Amounts:
        """What was counted since this was last asked, for the totals of the service."""


class AsPipeline:
    """An engine that is called like a `BFSPipeline`, for what draws several layers (`bfs_model.document.scene`)."""

    def __init__(self, engine: Engine, canceled: Callable[[], bool]) -> None:
        self._engine, self._canceled = engine, canceled
        self.config = engine.info  # `default_steps` is all that is read of it
        self.source = engine.info.label
        self.warnings: list[str] = []
        self.preview: Preview | None = None

    def __call__(
        self,
        background: Image.Image,
        box: Box,
        prompt: str,
        *,
        seed: int,
        num_inference_steps: int | None = None,
        callback_on_step_end: Callable[..., Any],
        reference: Image.Image | None = None,
    ) -> Any:
        def on_step(done: int, total: int, preview: Preview | None) -> None:
            self.preview = preview
            callback_on_step_end(self, done - 1, 0, {})

        request = Request(background.convert("RGB"), box, prompt, seed, reference=reference)
        (drawn,) = self._engine.draw([request], Settings(num_inference_steps), on_step, self._canceled)
        self.warnings += drawn.warnings
        return _Output([drawn.layer], [drawn.seed], [[*drawn.warnings]])


@dataclass(frozen=True)
class _Output:
    """The part of `BFSOutput` that scenes read."""

    foregrounds: list[Image.Image]
    seeds: list[int]
    warnings: list[list[str]]
