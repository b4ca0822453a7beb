"""Where a pipeline's weights come from: the embedded `tiny`, a bundle folder, or a trained model that points to its base."""

from importlib import resources
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput

BUNDLE, MODEL = "bundle", "model"
TRAINED_PARTS = ("sharing", "rgba_vae", "compositor")


def locate(name: str | Path) -> Path:
    """The folder of a bundle or model: `tiny`, or a path. Raises `BadInput` when there is none."""
    if str(name) == "tiny":
        path = Path(str(resources.files("bfs_model"))) / "bundles" / "tiny"
    else:
        path = Path(name).expanduser()
    for inside in (path / MODEL, path / BUNDLE):  # the output folder of a training job
        if not (path / integrity.MANIFEST).exists() and (inside / integrity.MANIFEST).exists():
            path = inside
    if not path.is_dir():
        raise BadInput("model", name, "is not a folder", "give `tiny`, the folder of a bundle or model, or models:/NAME@ALIAS")
    return path


def content_hash(name: str | Path) -> str:
    """Content hash of a bundle or model, from its manifest."""
    return str(integrity.read_manifest(locate(name))["content_hash"])


def save_model(pipe: Any, directory: Path, base: str, body: dict[str, Any]) -> Path:
    """Write a model: its trained parts and the pointer to its base, committed as one directory.

    Args:
        pipe: a `BFSPipeline`; base: what `locate` finds again (`tiny` or an absolute path); body: facts of the training.
    Returns: the path of the manifest.
    """
    staging = integrity.staging_for(directory)
    for part in TRAINED_PARTS:
        module = getattr(pipe, part, None)
        if module is not None:
            module.save_pretrained(staging / part, safe_serialization=True)
    pointer = {"name": str(base), "content_hash": content_hash(base)}
    return integrity.commit(staging, directory, MODEL, {"base": pointer, **body})


def root_of(name: str | Path) -> str:
    """The bundle at the bottom of `name`: itself, or the base that a trained model points to. `tiny` or an absolute path."""
    if str(name) == "tiny":
        return "tiny"
    path = locate(name)
    manifest = integrity.read_manifest(path)
    return str(manifest["body"]["base"]["name"]) if manifest["kind"] == MODEL else str(path.absolute())


def base_of(directory: Path, manifest: dict[str, Any]) -> Path:
    """The base folder that a model points to; its content hash must be the one recorded."""
    pointer = manifest["body"]["base"]
    base = locate(pointer["name"])
    found = content_hash(base)
    if found != pointer["content_hash"]:
        rule = f"has content hash {found[:12]}, but {directory} was trained on {pointer['content_hash'][:12]}"
        raise integrity.IntegrityError("base", base, rule, "restore that base, or train again on this one")
    return base
