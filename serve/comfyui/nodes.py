"""The nodes. Each asks a BFS service over HTTP and holds no model.

The service's key is read from the variable BFS_API_KEY: what stands in a node is saved with every workflow and every picture.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import torch

from .inside import save, watcher
from .service import Service
from .tensors import box_of, layers_of, to_image, to_layer, to_png

CATEGORY = "BFS"
SUFFIXES = {"psd": ".psd", "ora": ".ora", "zip": ".zip"}

_SERVICE = ("STRING", {"default": "http://127.0.0.1:8000", "tooltip": "where the service is; its key is read from BFS_API_KEY"})
_PROMPT = ("STRING", {"multiline": True, "default": "a large red glossy plastic sphere"})
_SEED = ("INT", {"default": 0, "min": 0, "max": 2**32 - 1, "control_after_generate": True})
_STEPS = ("INT", {"default": 0, "min": 0, "max": 200, "tooltip": "0: as the model likes"})
_MASK = ("MASK", {"tooltip": "the box around what it marks; wins over the numbers"})
_Inputs = dict[str, dict[str, Any]]


def _number(default: int, least: int = 0) -> Any:
    return ("INT", {"default": default, "min": least, "max": 2**20})


_BOX = {"x": _number(0), "y": _number(0), "width": _number(256, 1), "height": _number(256, 1)}


class BFSGenerate:
    """Draws an object with its shadow and reflection into every picture of the batch, with the seeds seed, seed + 1, …"""

    CATEGORY, FUNCTION = CATEGORY, "generate"
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE", "INT")
    RETURN_NAMES = ("layer", "mask", "composite", "seed")
    DESCRIPTION = "Draws an object with its shadow and reflection as a layer. The mask is 1 - alpha, for Join Image with Alpha."

    @classmethod
    def INPUT_TYPES(cls) -> _Inputs:
        """For ComfyUI."""
        needed = {"background": ("IMAGE",), "prompt": _PROMPT, **_BOX, "seed": _SEED, "steps": _STEPS, "service": _SERVICE}
        return {"required": needed, "optional": {"mask": _MASK, "reference": ("IMAGE",)}}

    def generate(
        self,
        background: torch.Tensor,
        prompt: str,
        x: int,
        y: int,
        width: int,
        height: int,
        seed: int,
        steps: int,
        service: str,
        mask: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """Layers [B, H, W, 3], masks [B, H, W], composites [B, H, W, 3], and the first seed."""
        shown = {} if reference is None else {"reference": to_png(reference[0])}
        fields = {"prompt": prompt, "box": box_of(mask, (x, y, width, height)), "steps": steps or None}
        asked = [({"background": to_png(picture), **shown}, {**fields, "seed": (seed + i) % 2**32}) for i, picture in enumerate(background)]
        return (*_drawn(service, "layers", asked), seed)


class BFSExtract:
    """Takes the layer out of a finished picture, over its known background."""

    CATEGORY, FUNCTION = CATEGORY, "extract"
    RETURN_TYPES = ("IMAGE", "MASK", "IMAGE")
    RETURN_NAMES = ("layer", "mask", "composite")
    DESCRIPTION = (
        "Takes an object with its effects out of a finished picture. Without a mask it is looked for where the two pictures differ."
    )

    @classmethod
    def INPUT_TYPES(cls) -> _Inputs:
        """For ComfyUI."""
        prompt = ("STRING", {"multiline": True, "default": ""})
        needed = {"composite": ("IMAGE",), "background": ("IMAGE",), "prompt": prompt, "seed": _SEED, "steps": _STEPS, "service": _SERVICE}
        return {"required": needed, "optional": {"mask": _MASK}}

    def extract(
        self,
        composite: torch.Tensor,
        background: torch.Tensor,
        prompt: str,
        seed: int,
        steps: int,
        service: str,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Layers [B, H, W, 3], masks [B, H, W], and the layers over the background, [B, H, W, 3]."""
        box = None if mask is None or not (mask > 0.5).any() else box_of(mask, (0, 0, 0, 0))
        fields = {"prompt": prompt, "box": box, "steps": steps or None, "seed": seed}
        empty = background.expand(len(composite), -1, -1, -1)
        asked = [({"composite": to_png(a), "background": to_png(b)}, fields) for a, b in zip(composite, empty)]
        return _drawn(service, "extractions", asked)


class BFSLayer:
    """One more layer for a document, above those that came before."""

    CATEGORY, FUNCTION = CATEGORY, "layer"
    RETURN_TYPES = ("BFS_LAYERS",)
    RETURN_NAMES = ("layers",)
    DESCRIPTION = "What a document shall hold, from back to front: chain one node for each layer."

    @classmethod
    def INPUT_TYPES(cls) -> _Inputs:
        """For ComfyUI."""
        flag = ("BOOLEAN", {"default": False, "tooltip": "object and effects as two layers in a group"})
        name = ("STRING", {"default": "", "tooltip": "by default the prompt"})
        needed = {"prompt": _PROMPT, **_BOX, "seed": _SEED, "steps": _STEPS, "split_effects": flag, "name": name}
        return {"required": needed, "optional": {"below": ("BFS_LAYERS",), "mask": _MASK, "reference": ("IMAGE",)}}

    def layer(
        self,
        prompt: str,
        x: int,
        y: int,
        width: int,
        height: int,
        seed: int,
        steps: int,
        split_effects: bool,
        name: str,
        below: tuple[dict[str, Any], ...] = (),
        mask: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
    ) -> tuple[tuple[dict[str, Any], ...]]:
        """The layers below and this one."""
        entry: dict[str, Any] = {"prompt": prompt, "box": box_of(mask, (x, y, width, height)), "seed": seed}
        entry["split_effects"] = split_effects
        entry.update({"steps": steps} if steps else {})
        entry.update({"name": name} if name else {})
        if reference is not None:
            entry["reference"] = base64.b64encode(to_png(reference[0])).decode()
        return ((*below, entry),)


class BFSDocument:
    """Draws all layers of a document, each onto the picture of those below it, and writes the layered file."""

    CATEGORY, FUNCTION = CATEGORY, "document"
    RETURN_TYPES = ("IMAGE", "IMAGE", "MASK", "STRING")
    RETURN_NAMES = ("composite", "layers", "masks", "path")
    OUTPUT_NODE = True
    DESCRIPTION = "Draws several layers and writes them as one PSD, OpenRaster or zip into ComfyUI's output folder."

    @classmethod
    def INPUT_TYPES(cls) -> _Inputs:
        """For ComfyUI."""
        prefix = ("STRING", {"default": "bfs"})
        needed = {"background": ("IMAGE",), "layers": ("BFS_LAYERS",), "format": (list(SUFFIXES),), "filename_prefix": prefix}
        return {"required": {**needed, "service": _SERVICE}}

    def document(
        self, background: torch.Tensor, layers: tuple[dict[str, Any], ...], format: str, filename_prefix: str, service: str
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, str]:
        """The flat picture [1, H, W, 3], the layers [N, H, W, 3] and masks [N, H, W] from back to front, and where the file is."""
        at = _service(service)
        job = at.make("documents", {"background": to_png(background[0])}, {"layers": list(layers)}, watcher())
        images, masks = layers_of(at.result(job, "zip"))
        path = save(at.result(job, format), filename_prefix, SUFFIXES[format])
        return to_image(at.result(job, "png")), images, masks, str(path)


def _service(url: str) -> Service:
    return Service(url, os.environ.get("BFS_API_KEY", ""))


def _drawn(url: str, kind: str, asked: list[tuple[dict[str, bytes], dict[str, Any]]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One job for each picture; its layers, masks and composites as batches."""
    at, watch, found = _service(url), watcher(), []
    for files, fields in asked:
        result = json.loads(at.result(at.make(kind, files, fields, watch), "json"))
        layer, composite = (base64.b64decode(result[name]) for name in ("layer_png", "composite_png"))
        found.append((*to_layer(layer), to_image(composite)))
    layers, masks, composites = (torch.cat(parts) for parts in zip(*found))
    return layers, masks, composites
