"""Manifests: a directory is whole when `manifest.json`, written last, lists every file with its sha256.

One flipped bit loads silently in torch, safetensors, Parquet and JPEG. So whatever is committed is hashed, and whoever
reads it checks.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput, IntegrityError

MANIFEST = "manifest.json"
FORMAT = "bfs-manifest/1"


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def staging_for(final: Path) -> Path:
    """A fresh, empty directory beside `final`, to be filled and then committed onto it."""
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.partial"
    staging.mkdir()
    return staging


@contextmanager
def staged(final: Path, kind: str) -> Iterator[Path]:
    """`staging_for` as a context that leaves nothing behind when what fills it fails, or when it is refused.

    Raises: `BadInput`, before any work is done, when `final` holds what `commit` would refuse to replace.
    """
    check_free(final, kind)
    staging = staging_for(final)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def commit(staging: Path, final: Path, kind: str, body: dict[str, Any], notes: dict[str, Any] | None = None) -> Path:
    """Hash every file in `staging`, write the manifest last, and rename `staging` onto `final`.

    `body` states what the content is; it is covered by `content_hash`. `notes` (timings, host names) are not.
    An existing `final` that is empty or a committed directory of the same kind is replaced; anything else is refused.

    Returns: the path of the manifest.
    """
    check_free(final, kind)
    write_manifest(staging, kind, body, notes)
    previous = None
    if final.exists():
        previous = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.replaced")
        os.rename(final, previous)
    os.rename(staging, final)
    _fsync(final.parent)
    if previous is not None:
        shutil.rmtree(previous)
    return final / MANIFEST


def check_free(final: Path, kind: str) -> None:
    """Raises `BadInput` when `final` is neither absent, nor an empty directory, nor one of this kind that was committed."""
    if final.exists() and not final.is_dir():
        raise BadInput("output", final, "is a file", "choose the path of a directory")
    if final.exists() and any(final.iterdir()) and not (final / MANIFEST).exists():
        raise BadInput("output", final, "exists and was not written by BFS", "choose another directory or remove it")
    found = kind_of(final / MANIFEST) or kind
    if found != kind:
        raise BadInput(
            "output", final, f"is of kind {found}, and would be replaced by one of kind {kind}", "choose another directory or remove it"
        )


def kind_of(manifest: Path) -> str | None:
    """The kind that a manifest names; None where there is none, or none that can be read."""
    try:
        return str(json.loads(manifest.read_bytes())["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_manifest(directory: Path, kind: str, body: dict[str, Any], notes: dict[str, Any] | None = None) -> Path:
    """Write `directory/manifest.json` over all files now in `directory`: fsync them, hash them, rename the manifest in."""
    files: list[dict[str, Any]] = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p != directory / MANIFEST):
        _fsync(path)
        entry = {"path": path.relative_to(directory).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        files.append(entry)
    manifest: dict[str, Any] = {"format": FORMAT, "kind": kind, "content_hash": content_hash(kind, body, files), "body": body}
    manifest |= {"files": files, "notes": notes or {}}
    temporary = directory / f".{MANIFEST}.partial"
    temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _fsync(temporary)
    os.rename(temporary, directory / MANIFEST)
    _fsync(directory)
    return directory / MANIFEST


def content_hash(kind: str, body: dict[str, Any], files: list[dict[str, Any]]) -> str:
    """sha256 over kind, body and the (path, sha256) pairs: equal for equal content, wherever and whenever it was made."""
    content: dict[str, Any] = {"kind": kind, "body": body, "files": sorted((f["path"], f["sha256"]) for f in files)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_manifest(directory: Path | str, kind: str | None = None) -> dict[str, Any]:
    """Read a manifest without hashing the files. Raises `IntegrityError` when it is absent, unreadable or of another kind."""
    path = Path(directory) / MANIFEST
    what = kind or "directory"
    if not path.is_file():
        raise IntegrityError(
            what, directory, "has no manifest, so it is missing or incomplete", "point to a committed one or build it again"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        expected = content_hash(manifest["kind"], manifest["body"], manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(what, path, f"is not readable ({error})", "restore it or build it again") from None
    if manifest.get("format") != FORMAT or expected != manifest["content_hash"]:
        raise IntegrityError(what, path, "does not match its own content hash", "restore it or build it again")
    if kind is not None and manifest["kind"] != kind:
        raise IntegrityError(what, directory, f"is a {manifest['kind']}, not a {kind}", f"point to a {kind}")
    return manifest


def verify(directory: Path | str, kind: str | None = None) -> dict[str, Any]:
    """Read the manifest and check the size and sha256 of every file it lists. Raises `IntegrityError` naming the first bad one."""
    manifest = read_manifest(directory, kind)
    for entry in manifest["files"]:
        verify_file(Path(directory), entry)
    return manifest


def verify_file(directory: Path, entry: dict[str, Any]) -> Path:
    """Check one file against its manifest entry and return its path."""
    path = directory / entry["path"]
    if not path.is_file():
        raise IntegrityError("file", path, "is listed in the manifest and missing", "restore it or build it again")
    if path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
        raise IntegrityError("file", path, "is damaged: its sha256 is not the one in the manifest", "restore it or build it again")
    return path


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
