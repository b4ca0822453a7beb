"""Folders of CLIP and DINOv2 weights as transformers saves them: found, checked and named before anything runs."""

import hashlib
import json
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.integrity import sha256_file

_WANTED = ("*.json", "*.safetensors", "*.txt")  # weights, configuration, CLIP's vocabulary and merges


def find_weights(key: str, name: str, model_type: str) -> Path:
    """The folder of a model: `name` itself, or what the hub id `name` stands for in the cache or on the hub.

    Raises: `BadInput` with `key` when there is none, it is of another type than `model_type`, or not in safetensors.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _from_hub(key, name)
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(key, name, "holds no config.json of transformers", f"give a folder of a {model_type} model") from None
    if found != model_type:
        raise BadInput(key, name, f"is a {found} model, not {model_type}", f"give a folder of a {model_type} model")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(key, name, "holds no weights in safetensors", "convert them; pickles are not loaded")
    return folder


def _from_hub(key: str, name: str) -> Path:
    remedy = f"give a folder that is here (--set {key}=FOLDER), or leave the metric out (--set {key}=null)"
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise BadInput(key, name, "is not a folder", remedy)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_WANTED)))
    except Exception as error:  # offline, unknown, behind terms: the hub's own errors are many
        reason = " ".join(str(error).split())[:120]
        raise BadInput(key, name, f"is no folder and cannot be had from the hub ({type(error).__name__}: {reason})", remedy) from None


def identity(folder: Path) -> str:
    """sha256 over names and contents of the files that can change a figure."""
    files = sorted({path for pattern in _WANTED for path in folder.glob(pattern) if path.is_file()})
    listed = [[path.name, sha256_file(path)] for path in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
