"""Scenes: several layers described in one file, drawn back to front, each onto the picture that the ones below it make.

    scene = Scene.open("scene.json")
    stack = scene.draw(pipe)
    stack = scene.redraw(stack, "ball", pipe, seed=8)

`bfs_model.document.scene_file` says what the file looks like.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.document import scene_file
from bfs_model.document.layer import Layer
from bfs_model.document.layers import LayerStack
from bfs_model.document.scene_layer import Picture, SceneLayer
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box

OnStep = Callable[[str, int, int], None]
"""Called with the name of the layer being drawn, its steps done, and its steps in all."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A background and its layers, from back to front. Every picture is read and every box checked."""

    background: Picture
    layers: tuple[SceneLayer, ...]

    @classmethod
    def open(cls, path: Path | str) -> "Scene":
        """Read a scene file. Raises `BadInput` that names the place in it, such as `layers[1].box`."""
        return cls(*scene_file.read(Path(path)))

    @property
    def pictures(self) -> list[Picture]:
        """All pictures that the scene names."""
        return [self.background, *(p for layer in self.layers for p in (layer.reference, layer.image) if p is not None)]

    def draw(
        self, pipe: Any, *, model: Mapping[str, Any] | str | None = None, split: bool = False, on_step: OnStep | None = None
    ) -> LayerStack:
        """Draw all layers, each onto the flattened picture of the visible ones below it.

        Args:
            pipe: a `BFSPipeline`, or what is called like one; model: what a document records of it, by default its source.
            split: object and effects as two layers each, also where the scene does not ask for it.
        Returns: the stack. What the pipeline warns of stands with each layer, in `parameters["warnings"]`.
        Raises: `BadInput` for a layer that cannot be split, before anything is drawn; what the pipeline raises.
        """
        for layer in self.layers:
            _check_split(layer, split)
        stack = LayerStack.new(self.background.image)
        for layer in self.layers:
            _put(stack, len(stack), layer, pipe, model, split, on_step)
        return stack

    def redraw(
        self,
        stack: LayerStack,
        name: str,
        pipe: Any,
        *,
        seed: int | None = None,
        model: Mapping[str, Any] | str | None = None,
        split: bool = False,
        on_step: OnStep | None = None,
    ) -> LayerStack:
        """Draw one layer of a document anew, as this scene describes it, where it now lies in the order.

        All other layers keep their bytes. That holds for those above as well, although they were drawn onto the picture
        with the old layer: redraw them too where they should take notice. `seed` goes before the scene's.

        Returns: a new stack; `stack` stays as it is. Raises: `BadInput` when scene or document have no such layer.
        """
        wanted = next((layer for layer in self.layers if layer.name == name), None)
        if wanted is None:
            raise BadInput("redraw", name, "is not a layer of the scene", f"it has {_listed([layer.name for layer in self.layers])}")
        if seed is not None and wanted.image is not None:
            raise BadInput("seed", seed, f"is for layers that are drawn, and {name} is given as an image", "leave it out")
        found = [position for position, layer in enumerate(stack) if layer.id in wanted.ids]
        if not found:
            raise BadInput("redraw", name, "is not the id of a layer of the document", f"it has {_listed([layer.id for layer in stack])}")
        split = split or any(stack.layers[position].part is not None for position in found)
        _check_split(wanted, split)
        kept = [layer for layer in stack if layer.id not in wanted.ids]
        new = LayerStack(stack.width, stack.height, kept)
        group = _outer(stack.layers[found[0]])
        for layer in _put(new, found[0], wanted, pipe, model, split, on_step, seed):
            new.update(layer.id, group=group if layer.part is None else " / ".join(filter(None, (group, layer.group))))
        return new


def _check_split(layer: SceneLayer, split: bool) -> None:
    if split and layer.image is None and layer.blend_mode != "normal":
        rule = f"cannot be had of {layer.name}, which blends in mode {layer.blend_mode}"
        raise BadInput("split_effects", "true", rule, "use normal, or leave it whole")


def _put(
    stack: LayerStack,
    index: int,
    layer: SceneLayer,
    pipe: Any,
    model: Mapping[str, Any] | str | None,
    split: bool,
    on_step: OnStep | None,
    seed: int | None = None,
) -> tuple[Layer, ...]:
    """Draw a layer onto what lies below `index` and put it there. Returns it, or its parts."""
    if layer.image is not None:
        x, y = layer.position
        facts: dict[str, Any] = {"x": x, "y": y, "parameters": {"image": layer.image.facts}}
        return (stack.add(layer.image.image, layer.name, index=index, id=layer.name, **facts, **layer.appearance),)
    assert layer.box is not None
    below = LayerStack(stack.width, stack.height, stack.layers[:index]).flatten()
    foreground, facts = _drawn(layer, layer.box.within(*below.size), below, pipe, on_step, layer.seed if seed is None else seed)
    facts["model"] = getattr(pipe, "source", None) if model is None else model
    added = stack.add(foreground, layer.name, index=index, id=layer.name, **facts, **layer.appearance)
    return stack.split_effects(added.id) if split or layer.split_effects else (added,)


def _outer(layer: Layer) -> str | None:
    """The group in which a layer lies; of a part, the one around the group of its two parts."""
    if layer.part is None:
        return layer.group
    return (layer.group or "").rpartition(" / ")[0] or None


def _drawn(
    layer: SceneLayer, box: Box, below: Image.Image, pipe: Any, on_step: OnStep | None, seed: int | None
) -> tuple[Image.Image | np.ndarray, dict[str, Any]]:
    """The layer's pixels, and how they came to be."""
    expected = layer.steps or int(pipe.config.default_steps)
    num_done = 0

    def callback(_pipe: Any, step: int, _time: Any, _tensors: Any) -> dict[str, Any]:
        nonlocal num_done
        num_done = step + 1
        if on_step is not None:
            on_step(layer.name, num_done, max(expected, num_done))
        return {}

    shown = {} if layer.reference is None else {"reference": layer.reference.image}
    out = pipe(below, tuple(box), layer.prompt, seed=seed, num_inference_steps=layer.steps, callback_on_step_end=callback, **shown)
    parameters: dict[str, Any] = {"steps": num_done}
    if known := [line for of_image in getattr(out, "warnings", ()) for line in of_image]:
        parameters["warnings"] = known
    if layer.reference is not None:
        parameters["reference"] = layer.reference.facts
    return out.foregrounds[0], {"box": box, "prompt": layer.prompt or None, "seed": out.seeds[0], "parameters": parameters}


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
