"""Manifests wherever they lie. On an object store the manifest is the commit: every object is put whole, the manifest last."""

import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import IntegrityError
from bfs_platform.storage.path import Location, RemotePath

_PIECE = 8 * 2**20


def read_manifest(place: Location, kind: str | None = None) -> dict[str, Any]:
    """As `integrity.read_manifest`, also for a prefix of an object store."""
    if isinstance(place, Path):
        return integrity.read_manifest(place, kind)
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / integrity.MANIFEST).write_bytes((place / integrity.MANIFEST).read_bytes())
        except FileNotFoundError:
            pass
        except OSError as error:
            raise IntegrityError(kind or "manifest", place, f"cannot be read ({_first_line(error)})", "check the store") from None
        try:
            return integrity.read_manifest(folder, kind)
        except IntegrityError as error:
            raise IntegrityError(error.key, place, error.rule, error.remedy) from None


def verify(place: Location, kind: str | None = None) -> dict[str, Any]:
    """As `integrity.verify`: every file is read and hashed, those of an object store too."""
    if isinstance(place, Path):
        return integrity.verify(place, kind)
    manifest = check_sizes(place, read_manifest(place, kind))
    for entry in manifest["files"]:
        if sha256(place / entry["path"]) != entry["sha256"]:
            rule = "is damaged: its sha256 is not the one in the manifest"
            raise IntegrityError("file", place / entry["path"], rule, "restore it or build it again")
    return manifest


def check_sizes(place: RemotePath, manifest: dict[str, Any]) -> dict[str, Any]:
    """`manifest`, after one listing. Raises `IntegrityError` naming the first object that is missing or of another size."""
    found = place.files()
    for entry in manifest["files"]:
        status = found.get(entry["path"])
        if status is None or status.st_size != entry["bytes"]:
            rule = "is listed in the manifest and missing" if status is None else "has not the size that the manifest states"
            raise IntegrityError("file", place / entry["path"], rule, "restore it or build it again")
    return manifest


def put_manifest(place: RemotePath, kind: str, body: dict[str, Any], files: Iterable[dict[str, Any]], notes: dict[str, Any]) -> RemotePath:
    """Commit: put the manifest over `files` ({path, bytes, sha256}), all of which are there. Returns its place."""
    listed = sorted(files, key=lambda entry: entry["path"])
    manifest: dict[str, Any] = {"format": integrity.FORMAT, "kind": kind}
    manifest |= {"content_hash": integrity.content_hash(kind, body, listed), "body": body, "files": listed, "notes": notes}
    target = place / integrity.MANIFEST
    target.write_bytes((json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    return target


def sha256(place: Location) -> str:
    """Hex sha256 of a file or an object, read in pieces."""
    digest = hashlib.sha256()
    with place.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _first_line(error: OSError) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
