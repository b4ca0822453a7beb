"""What a model folder may hold. It is checked before it is uploaded, again after it was downloaded, and before promotion."""

import json
import struct
from pathlib import Path, PurePosixPath
from typing import Any

from bfs_model import integrity
from bfs_model.errors import IntegrityError
from bfs_model.weight.bundle import MODEL

# Weights as safetensors, configurations, licences, and SentencePiece vocabularies. Nothing that Python would execute.
ALLOWED_SUFFIXES = (".json", ".md", ".model", ".safetensors", ".txt")
_MAX_HEADER_BYTES = 100 * 2**20  # the limit of the safetensors format


def check_folder(directory: Path) -> dict[str, Any]:
    """Check a model folder completely and return its manifest.

    Every listed file is there with its sha256, no other file is, none is a link, each is of an allowed kind, and
    safetensors files have a readable header. Raises `IntegrityError` naming the first file that is not so.
    """
    manifest = check_listing(integrity.read_manifest(directory, MODEL))
    listed = {entry["path"] for entry in manifest["files"]} | {integrity.MANIFEST}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            raise IntegrityError("file", path, "is a link", "put the file itself there")
        if not path.is_dir() and name not in listed:
            raise IntegrityError("file", path, "is not listed in the manifest", "remove it, or build the model again")
    for entry in manifest["files"]:
        check_file(directory, entry)
    return manifest


def check_listing(manifest: dict[str, Any]) -> dict[str, Any]:
    """Check what a manifest says before any of its files is touched: paths that stay inside, allowed kinds, a base."""
    for entry in manifest["files"]:
        path = PurePosixPath(entry["path"])
        # A leading dot covers `..` as well as hidden files.
        if path.is_absolute() or "\\" in entry["path"] or any(part.startswith(".") for part in path.parts):
            raise IntegrityError("file", entry["path"], "is not a plain path inside the model", "build the model again")
        if path.suffix not in ALLOWED_SUFFIXES:
            raise IntegrityError("file", entry["path"], f"is none of {', '.join(ALLOWED_SUFFIXES)}", "a model holds no code and no pickles")
    base = manifest["body"].get("base")
    if not isinstance(base, dict) or not base.get("name") or not base.get("content_hash"):
        raise IntegrityError("model", manifest["content_hash"][:12], "does not say which base it belongs to", "build the model again")
    return manifest


def check_file(directory: Path, entry: dict[str, Any]) -> None:
    """Check one file against its manifest entry, and the header of safetensors."""
    path = integrity.verify_file(directory, entry)
    if path.suffix == ".safetensors" and not _has_safetensors_header(path):
        raise IntegrityError("file", path, "is not in the safetensors format", "save the weights again")


def _has_safetensors_header(path: Path) -> bool:
    """Eight bytes of length, then that much JSON: an object of tensors. A pickle or an archive under this name has neither."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            return False
        (length,) = struct.unpack("<Q", start)
        if length > min(_MAX_HEADER_BYTES, path.stat().st_size - 8):
            return False
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except ValueError:
            return False
