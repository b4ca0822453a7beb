"""Folders of weights that are not ours: FLUX.1-Fill and FLUX.1-Redux in the layout of diffusers, local or from the hub.

They carry no manifest. Their identity is made here: sha256 over the files that are loaded, and over no others. Only
safetensors are loaded; parts that come as pickles are refused.
"""

import json
import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import licence

FILL, REDUX = "FluxFillPipeline", "FluxPriorReduxPipeline"
# Parts of each layout, and whether they hold weights. Anything else in the folder is not looked at.
PARTS: dict[str, dict[str, bool]] = {
    FILL: {
        "scheduler": False,
        "tokenizer": False,
        "tokenizer_2": False,
        "text_encoder": True,
        "text_encoder_2": True,
        "transformer": True,
        "vae": True,
    },
    REDUX: {"feature_extractor": False, "image_embedder": True, "image_encoder": True},
}
_INDEX = "model_index.json"
_LOADED = (".json", ".model", ".safetensors", ".txt")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def layout(path: Path) -> str | None:
    """The pipeline class that a folder in diffusers' layout was saved by, or None when it is no such folder."""
    try:
        return str(json.loads((path / _INDEX).read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_hub_id(name: object) -> bool:
    """Whether `name` reads as OWNER/NAME of a model hub and not as a folder here, there or mistyped: OWNER is no folder."""
    return isinstance(name, str) and _HUB_ID.fullmatch(name) is not None and not Path(name).parent.is_dir()


def from_hub(name: str, kind: str, accept_flux_licence: bool = False) -> Path:
    """The folder of a hub id: from the local cache if it is whole there, otherwise downloaded once the licence is accepted.

    Args: `kind` is `FILL` or `REDUX`. Raises: `BadInput` when it is another kind of model or cannot be reached.
    """
    try:
        path = _snapshot(name, kind, local=True)
        check(path, kind)
        return path
    except (BadInput, OSError, ValueError):
        pass  # not here, or not whole
    licence.check_flux(name, accept_flux_licence)
    remedy = "give a folder that is here, or download it where the hub can be reached"
    try:
        return _snapshot(name, kind, local=False)
    except BadInput:
        raise
    except Exception as error:  # offline, not found, or behind terms that nobody accepted there: each client has its own errors
        reason = " ".join(str(error).split())[:160]
        raise BadInput("model", name, f"is no folder and cannot be downloaded ({type(error).__name__}: {reason})", remedy) from None


def _snapshot(name: str, kind: str, local: bool) -> Path:
    from diffusers import FluxFillPipeline, FluxPriorReduxPipeline

    pipeline = {FILL: FluxFillPipeline, REDUX: FluxPriorReduxPipeline}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # diffusers hands the hub's client arguments that it no longer knows
        found = dict(pipeline.load_config(name, local_files_only=local)).get("_class_name")
        if found != kind:
            raise BadInput("model", name, f"is a {found}, not a {kind}", "give the id of a FLUX.1 Fill or Redux model")
        return Path(pipeline.download(name, local_files_only=local, use_safetensors=True))


def check(path: Path, kind: str) -> None:
    """Check that every part of the layout is there, and that weights are safetensors. Raises `BadInput` naming the first fault."""
    for part, has_weights in PARTS[kind].items():
        folder = path / part
        if not folder.is_dir() or not any(folder.glob("*.json")):
            raise BadInput("model", path, f"lacks {part}", f"give a whole folder of {kind}, as diffusers saves it")
        if has_weights:
            _check_weights(folder)


def _check_weights(folder: Path) -> None:
    files = {file.name for file in folder.glob("*.safetensors")}
    for index in folder.glob("*.safetensors.index.json"):
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadInput("model", index, "is damaged: it does not say where weights are", "fetch the model again") from None
        missing = sorted(listed - files)
        if missing:
            raise BadInput("model", folder / missing[0], "is listed in the index and missing", "fetch the model again")
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if not files and pickles:
        raise BadInput(
            "model", folder / pickles[0], "is a pickle, which can run code", "convert it to safetensors on a machine you can spare"
        )
    if not files:
        raise BadInput("model", folder, "holds no weights in safetensors", "fetch the model again")


def manifest(path: Path, kind: str) -> dict[str, Any]:
    """What a manifest of ours would say: kind, files with their sha256, the content hash over them, and the licence.

    Hashing happens once per process and file, as long as size and time of the file stay. Raises `BadInput` as `check` does.
    """
    check(path, kind)
    files = [path / _INDEX, *(file for part in PARTS[kind] for file in sorted((path / part).iterdir()) if file.suffix in _LOADED)]
    entries = _entries(path, files)
    body = {"licence": licence.FLUX_LICENCE}
    return {"kind": kind, "content_hash": integrity.content_hash(kind, body, entries), "body": body, "files": entries}


def _entries(path: Path, files: Sequence[Path]) -> list[dict[str, Any]]:
    stats = [file.stat() for file in files]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing releases the interpreter lock
        hashes = list(pool.map(lambda file, stat: _sha256(str(file), stat.st_size, stat.st_mtime_ns), files, stats))
    return [
        {"path": file.relative_to(path).as_posix(), "bytes": stat.st_size, "sha256": digest}
        for file, stat, digest in zip(files, stats, hashes, strict=True)
    ]


@lru_cache(maxsize=4096)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    return integrity.sha256_file(Path(path))
