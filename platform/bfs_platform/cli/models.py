"""From the name of a model to something that draws layers."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

FAKE = "fake"

# Parameters. On a busy machine the threads of a model smaller than this wait for each other most of the time.
_SMALL = 100_000_000


class Drawn(Protocol):
    """What a pipeline returns."""

    foregrounds: list[Image.Image]
    composites: list[Image.Image]
    seeds: list[int | None]
    warnings: list[list[str]]


class Pipeline(Protocol):
    """What the commands need of `BFSPipeline`. `config.default_steps` is the number of steps it takes when not told."""

    config: Any

    def __call__(
        self,
        background: Any,
        box: Any,
        prompt: Any,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        **reference: Any,
    ) -> Drawn:
        """Draw one layer into `box` of `background`."""

    def extract(self, composite: Any, background: Any, box: Any, prompt: Any = "", **settings: Any) -> Drawn:
        """Take the layer out of the finished picture `composite`."""


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline and the facts that a document records about it: name, and where known version and content hash."""

    pipeline: Pipeline
    facts: dict[str, Any]


def load_model(name: str, reference: bool = True) -> LoadedModel:
    """Load `tiny`, a folder, `models:/NAME@ALIAS`, or `fake` (a drawn disc, for trying out scripts). Raises `BadInput`.

    Without `reference` the encoder for reference pictures stays on the disk.
    """
    if name == FAKE:
        from bfs_platform.cli.fake import FakePipeline

        return LoadedModel(FakePipeline(), {"name": FAKE})
    facts: dict[str, Any] = {"name": name}
    path: str | Path = name
    if name.startswith("models:"):
        from bfs_platform.registry.resolve import pin, resolve

        facts["version"] = pin(name)
        path = resolve(facts["version"])
    from bfs_model.weight.bundle import content_hash

    facts["content_hash"] = content_hash(path)  # says at once if there is no such model, before torch is imported
    with _starting():
        return LoadedModel(_pipeline(path, reference), facts)


def _pipeline(path: str | Path, reference: bool) -> Any:
    import torch

    from bfs_model import BFSPipeline
    from bfs_model.sampling.reference import PARTS
    from bfs_model.weight import bundle, small_bundle
    from bfs_model.weight.memory import to_accelerator

    if small_bundle.is_small(bundle.read(bundle.locate(path))):
        torch.set_num_threads(1)
    left_out: dict[str, Any] = {} if reference else dict.fromkeys(PARTS)
    pipeline = to_accelerator(BFSPipeline.from_pretrained(path, **left_out))
    pipeline.set_progress_bar_config(disable=True)  # the commands show their own
    if pipeline.transformer.num_parameters() < _SMALL:
        torch.set_num_threads(1)
    return pipeline


@contextmanager
def _starting() -> Iterator[None]:
    """What is imported and loaded here stays until the end: nobody looks through it for garbage, now or at exit."""
    from bfs_platform.cli import deferred

    if "torch" not in sys.modules:
        deferred.install()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
