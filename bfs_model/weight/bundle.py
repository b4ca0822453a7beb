"""Where a pipeline's weights come from: the embedded `tiny`, a bundle folder, a trained model that points to its base, or
a folder or hub id of FLUX.1-Fill.
"""

from importlib import resources
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import foreign
from bfs_model.weight.licence import FLUX_LICENCE

BUNDLE, MODEL = "bundle", "model"
TRAINED_PARTS = ("sharing", "rgba_vae", "compositor")


def locate(name: str | Path, accept_flux_licence: bool = False) -> Path:
    """The folder of a bundle, a model or FLUX.1-Fill: `tiny`, a path, or a hub id, which is downloaded if need be.

    Raises `BadInput` when there is none.
    """
    if foreign.is_hub_id(name):
        return foreign.from_hub(str(name), foreign.FILL, accept_flux_licence)
    if str(name) == "tiny":
        path = Path(str(resources.files("bfs_model"))) / "bundles" / "tiny"
    else:
        path = Path(name).expanduser()
    for inside in (path / MODEL, path / BUNDLE):  # the output folder of a training job
        if not (path / integrity.MANIFEST).exists() and (inside / integrity.MANIFEST).exists():
            path = inside
    if not path.is_dir():
        remedy = "give `tiny`, the folder of a bundle, a model or FLUX.1-Fill, or models:/NAME@ALIAS"
        raise BadInput("model", name, "is not a folder", remedy)
    return path


def untrained(name: str | Path) -> tuple[str, ...]:
    """The parts of a bundle or model that no training has seen, as its manifest says; of FLUX.1-Fill all that BFS adds."""
    path = locate(name)
    if is_foreign(path):
        return TRAINED_PARTS
    return tuple(integrity.read_manifest(path)["body"].get("untrained", ()))


def is_flux(name: str | Path) -> bool:
    """Whether a bundle or model stands on weights of FLUX.1: its own folder, or one whose manifest carries that licence."""
    path = locate(name)
    if is_foreign(path):
        return True
    body = integrity.read_manifest(path)["body"]
    return FLUX_LICENCE in (body.get("licence"), body.get("base", {}).get("licence"))


def is_foreign(path: Path) -> bool:
    """Whether a folder is FLUX.1-Fill's own, without a manifest of ours."""
    return not (path / integrity.MANIFEST).exists() and foreign.layout(path) == foreign.FILL


def read(path: Path) -> dict[str, Any]:
    """The manifest of a located folder. FLUX.1-Fill has none: its files are hashed, and the kind is `foreign.FILL`."""
    return foreign.manifest(path, foreign.FILL) if is_foreign(path) else integrity.read_manifest(path)


def verify(path: Path) -> dict[str, Any]:
    """`read`, with every file checked against the manifest."""
    return read(path) if is_foreign(path) else integrity.verify(path)


def content_hash(name: str | Path) -> str:
    """Content hash of a bundle or model, from its manifest; of FLUX.1-Fill, over the files that are loaded."""
    return str(read(locate(name))["content_hash"])


def absolute(name: str | Path) -> str:
    """`name` as it is found from everywhere: `tiny` and hub ids as they are, folders by their absolute path."""
    return str(name) if str(name) == "tiny" or foreign.is_hub_id(name) else str(Path(name).expanduser().absolute())


def save_model(pipe: Any, directory: Path, base: str, body: dict[str, Any]) -> Path:
    """Write a model: its trained parts and the pointer to its base, committed as one directory.

    Args:
        pipe: a `BFSPipeline`, or anything with some of its trained parts; its `untrained` names those that are not yet. Those of
            FLUX.1-Fill are not written: they are made anew, the same, wherever it is loaded.
        base: what `locate` finds again (`tiny`, an absolute path or a hub id); body: facts of the training.
    Returns: the path of the manifest.
    """
    left, unready = set(untrained(base)), set(getattr(pipe, "untrained", ()))
    grown = is_foreign(locate(base))
    with integrity.staged(directory, MODEL) as staging:
        for part in TRAINED_PARTS:
            module = getattr(pipe, part, None)
            if module is not None and not (grown and part in unready):
                module.save_pretrained(staging / part, safe_serialization=True)
                left -= {part} - unready
        found = read(locate(base))
        pointer = {"name": str(base), "content_hash": found["content_hash"]}
        if "licence" in found["body"]:
            pointer["licence"] = found["body"]["licence"]
        return integrity.commit(staging, directory, MODEL, {"base": pointer, **body, **({"untrained": sorted(left)} if left else {})})


def root_of(name: str | Path) -> str:
    """The bundle at the bottom of `name`: itself, or the base that a trained model points to. As `absolute` gives it."""
    if str(name) == "tiny" or foreign.is_hub_id(name):
        return str(name)
    path = locate(name)
    if is_foreign(path):
        return absolute(path)
    manifest = integrity.read_manifest(path)
    return str(manifest["body"]["base"]["name"]) if manifest["kind"] == MODEL else absolute(path)


def base_of(directory: Path, manifest: dict[str, Any], accept_flux_licence: bool = False) -> Path:
    """The base folder that a model points to; its content hash must be the one recorded."""
    pointer = manifest["body"]["base"]
    base = locate(pointer["name"], accept_flux_licence)
    found = content_hash(base)
    if found != pointer["content_hash"]:
        rule = f"has content hash {found[:12]}, but {directory} was trained on {pointer['content_hash'][:12]}"
        raise integrity.IntegrityError("base", base, rule, "restore that base, or train again on this one")
    return base
