"""The model under evaluation, behind one small protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, Protocol, cast

from PIL import Image

from bfs_model.errors import BadInput

Box4 = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a model delivers: `layer` RGBA and `composite` RGB, the size of the background.

    `branch`: the picture of the composite branch, the size of the background, when the model has one and was asked for it.
    `has_layer` is False for a system that delivers a composite only. `background`: what a system that takes a true composite
    apart believes to lie behind the object; it is then judged in place of the composite. `warnings`: what it says of this result.
    """

    layer: Image.Image
    composite: Image.Image
    branch: Image.Image | None = None
    has_layer: bool = True
    background: Image.Image | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def flat(cls, composite: Image.Image) -> "Drawn":
        """What a system without layers delivers: `layer` is empty and says nothing."""
        return cls(Image.new("RGBA", composite.size), composite, has_layer=False)


class LayerModel(Protocol):
    """Draws a layer for a background, a box and a prompt; the same one for the same seed."""

    def draw(self, background: Image.Image, box: Box4, prompt: str, seed: int, steps: int | None) -> Drawn:
        """Draw one layer. Raises whatever is wrong."""
        ...


class PipelineModel:
    """`BFSPipeline` as a `LayerModel`."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def draw(self, background: Image.Image, box: Box4, prompt: str, seed: int, steps: int | None) -> Drawn:
        """Draw one layer with a generator of its own."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        out = self.pipeline(background=background, box=box, prompt=prompt, num_inference_steps=steps, generator=generator)
        return Drawn(out.foregrounds[0], out.composites[0], warnings=tuple(out.warnings[0]))


def load_pipeline(model: str, memory: str | None = None) -> LayerModel:
    """Load a `BFSPipeline` from `tiny` or a folder, on the GPU that this process was given, if any; `memory` as in `from_pretrained`."""
    from bfs_model.sampling.pipeline import BFSPipeline
    from bfs_model.weight.memory import to_accelerator

    pipeline = BFSPipeline.from_pretrained(model, memory=memory)
    pipeline.set_progress_bar_config(disable=True)
    return PipelineModel(to_accelerator(pipeline))


def loader(spec: str, memory: str | None = None) -> Callable[[str], LayerModel]:
    """The function that `"package.module:function"` names, told of `memory` if that is set.

    Raises: `BadInput` when there is none, or when it cannot be told.
    """
    found = cast("Callable[..., LayerModel]", imported("loader", spec))
    if memory is None:
        return found
    if "memory" not in signature(found).parameters:
        raise BadInput("memory", memory, f"is not taken by loader={spec}", "leave it out, or give that function a parameter memory")
    return partial(found, memory=memory)


def imported(key: str, spec: str) -> Callable[..., Any]:
    """Import what `"package.module:name"` says. Raises `BadInput` when there is nothing callable."""
    module, _, name = spec.partition(":")
    try:
        found = getattr(import_module(module), name) if module and name else None
    except (ImportError, AttributeError) as error:
        raise BadInput(key, spec, f"cannot be imported ({error})", "give package.module:function") from None
    if not callable(found):
        raise BadInput(key, spec, "is not a function", "give package.module:function")
    return cast("Callable[..., Any]", found)
