"""What a pretrained model is to a build: records in, records or rejects out; found, checked and named before anything is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import bounding_box
from bfs_platform.data.record import Record, Reject, digest_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.fit import MASK_LEVEL

Answer = Record | Reject
_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


class Model(Protocol):
    """One model of a build. `name` is its key in `models` and in the timings."""

    name: str

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """An answer per record, in order: the record with what the model adds, or a `Reject`."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A model that recipes may name: the part of the recipe that asks for it, and the class behind it, `module:name`.

    `needs` are the files without which a folder is not this model. `check`, a `module:function` of the folder and the recipe, raises
    `BadInput` for what else must hold. `inside`: where in its output a training run of ours leaves such a model.
    """

    part: str
    implementation: str
    needs: tuple[str, ...]
    check: str = ""
    inside: str = ""


# In the order in which they work: a mask before everything that looks at the object.
KINDS = {
    "sam2": Kind("mask", "sam2:Sam2Masks", ("config.json",)),
    "blip2": Kind("caption", "blip2:Blip2Captions", ("config.json", "tokenizer.json")),
    "objectclear": Kind("background", "objectclear:ObjectClearBackground", ("model_index.json", "unet/config.json", "vae/config.json")),
    "vitmatte": Kind("matting", "vitmatte:VitMatteLayers", ("config.json",)),
    "clip": Kind("filter", "clip:ClipFilter", ("config.json", "tokenizer.json")),
    "flux_shadow": Kind(
        "shadow", "shadow:LearnedShadows", ("manifest.json", "prompt.safetensors"), check="shadow:check", inside="shadow_network"
    ),
}


def named(spec: DataSpec) -> list[str]:
    """The models that a recipe names, in the order in which they work."""
    return [name for name, kind in KINDS.items() if getattr(spec, kind.part).kind == name]


def open_model(name: str, spec: DataSpec) -> Model:
    """Load one model. Raises `BadInput` as `find` does."""
    return _named(KINDS[name].implementation)(spec, find(name, spec))


def open_models(spec: DataSpec) -> list[Model]:
    """Load all models that a recipe names."""
    return [open_model(name, spec) for name in named(spec)]


def identities(spec: DataSpec) -> dict[str, dict[str, str]]:
    """Name and content hash of every model that a recipe names. Raises `BadInput` for one that is missing, before any work."""
    return {name: {"name": _short(getattr(spec.models, name)), "content_hash": _content_hash(find(name, spec))} for name in named(spec)}


def find(name: str, spec: DataSpec) -> Path:
    """The folder of a model's files: as given, in the output of the run that trained it, or from the hub (or its local cache).

    Raises `BadInput` when it is neither, lacks a file, or has no safetensors.
    """
    weights, key = getattr(spec.models, name), f"models.{name}"
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        folder = _from_hub(key, weights)
    elif (inside := KINDS[name].inside) and (folder / inside).is_dir():
        folder /= inside
    missing = [path for path in KINDS[name].needs if not (folder / path).is_file()]
    if missing:
        raise BadInput(key, weights, f"lacks {missing[0]}", "give a folder in the layout in which the model is published")
    if not any(folder.rglob("*.safetensors")):
        found = sorted(p.name for p in folder.rglob("*") if p.suffix in _UNSAFE)
        rule = f"has {found[0]} but no safetensors; pickled weights are never loaded" if found else "holds no weights (*.safetensors)"
        raise BadInput(key, weights, rule, "convert them, or give another folder")
    if KINDS[name].check:
        _named(KINDS[name].check)(folder, spec)
    return folder


def _named(place: str) -> Any:
    """The object `module:name` of this package."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"bfs_platform.data.model.{module}"), name)


def _from_hub(key: str, weights: str) -> Path:
    remedy = f"give a folder with its files: --set {key}=FOLDER"
    if weights.startswith((".", "/", "~")) or weights.count("/") != 1:
        raise BadInput(key, weights, "is not a folder", remedy)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(weights, allow_patterns=list(_PATTERNS)))
    except Exception as error:  # the hub's client raises a family of its own for each way of not answering
        reason = type(error).__name__
        raise BadInput(key, weights, f"is neither a folder nor a model that the hub gives ({reason})", remedy) from None


def _short(weights: str) -> str:
    return Path(weights).name if Path(weights).is_absolute() or weights.startswith((".", "~")) else weights


def _content_hash(folder: Path) -> str:
    files = sorted(p for pattern in _PATTERNS for p in folder.rglob(pattern))
    return digest_of([[path.relative_to(folder).as_posix(), integrity.sha256_file(path)] for path in files])


def device_of() -> str:
    """Where a model runs: the GPU that Ray gave to this process, else the CPU with one thread.

    An actor that asked for none sees the GPUs of its node all the same: what is encoded would depend on the node.
    """
    import ray
    import torch

    if torch.cuda.is_available() and (not ray.is_initialized() or ray.get_gpu_ids()):
        return "cuda"
    torch.set_num_threads(1)
    return "cpu"


def in_batches(
    records: Sequence[Record], size: int, work: Callable[[list[Record]], Sequence[Any]], wanted: Callable[[Record], bool] = lambda _: True
) -> Iterator[tuple[int, Any]]:
    """(position, result) of the records that are `wanted`; `work` sees at most `size` at a time, all of one height and width."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, record in enumerate(records):
        if wanted(record):
            groups.setdefault(record.composite.shape, []).append(position)
    for positions in groups.values():
        for start in range(0, len(positions), size):
            chosen = positions[start : start + size]
            yield from zip(chosen, work([records[i] for i in chosen]), strict=True)


def normalised(pictures: Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> Any:
    """uint8 pictures [H, W, 3] → float32 tensor [N, 3, H, W], channel by channel less `mean`, by `std`."""
    import torch

    array = (np.stack(pictures).astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def object_crop(record: Record, margin: float = 0.25) -> np.ndarray:
    """The composite around the object's box, `margin` of the box's longer side wider on each side. uint8 [h, w, 3]."""
    box = bounding_box(record.object_mask >= MASK_LEVEL)
    if box is None:
        return record.composite
    wider = round(margin * max(box.width, box.height))
    return np.ascontiguousarray(record.composite[max(0, box.y0 - wider) : box.y1 + wider, max(0, box.x0 - wider) : box.x1 + wider])
