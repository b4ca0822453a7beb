"""A training set of an object store, brought to this machine once and kept by its content hash: training then reads from disk.

`BFS_HOME/datasets/HASH/` is a whole set or does not exist; `.HASH.partial/` is one that is being fetched, from which a later
run goes on. Both may be deleted whenever nothing trains.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_model.files import write_whole
from bfs_platform.console.screen import say
from bfs_platform.data.shard.reading import Dataset, open_dataset
from bfs_platform.data.spec import KIND
from bfs_platform.storage.manifests import check_sizes, read_manifest
from bfs_platform.storage.path import Location, RemotePath, location, reachable
from bfs_platform.tracking.uri import bfs_home

_PIECE = 8 * 2**20
_CONNECTIONS = 8


def open_near(place: str | Path | RemotePath, home: str | Path | None = None) -> Dataset:
    """Open a training set for reading it many times: a directory where it lies, an object store's from a copy on this machine.

    Every file was hashed before this returns. `home` is used where this process has no `BFS_HOME` of its own.
    Raises: `BadInput` when the store does not answer or the disk is too small; `IntegrityError` naming what is damaged.
    """
    found = location(place)
    if isinstance(found, Path):
        return open_dataset(found)
    return open_dataset(local_copy(found, Path(os.environ.get("BFS_HOME") or home or bfs_home()) / "datasets"), verify=False)


def manifest_at(place: str | Path | RemotePath) -> tuple[Location, dict[str, Any]]:
    """Where a training set is, and its manifest; of an object store also that every object is there, with its size."""
    found = reachable(location(place), "dataset")
    manifest = read_manifest(found, KIND)
    return found, check_sizes(found, _with_plain_paths(found, manifest)) if isinstance(found, RemotePath) else manifest


def local_copy(place: RemotePath, cache: Path) -> Path:
    """The directory in `cache` that holds the set at `place`, fetched unless it is there and whole.

    Of several processes one fetches and the others wait. A file of the copy that was damaged is fetched again.
    """
    manifest = manifest_at(place)[1]
    final = cache.absolute() / manifest["content_hash"]
    seen = _stamp(final)
    if seen is not None and _is_whole(final):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(final):
        if _stamp(final) == seen:  # else somebody fetched it meanwhile, and checked it
            _fetch(place, manifest, final)
    return final


def _fetch(place: RemotePath, manifest: dict[str, Any], final: Path) -> None:
    """Bring every file that is not there or not right, then the manifest, then the name."""
    # A copy in use is mended in place: other runs open its shards by name.
    work = final if final.exists() else final.with_name(f".{final.name}.partial")
    missing = [entry for entry in manifest["files"] if not _is_right(work, entry)]
    num_bytes = sum(entry["bytes"] for entry in missing)
    free = shutil.disk_usage(final.parent).free
    if num_bytes > free:
        rule = f"has {free / 2**30:.1f} GiB left and {place} needs {num_bytes / 2**30:.1f}"
        raise BadInput("BFS_HOME", final.parent, rule, "make room, or let BFS_HOME name a larger disk")
    say(f"Fetching {len(missing)} files, {num_bytes / 2**20:.1f} MiB, of {place} into {final.parent}")
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        # `map` is lazy in what it raises: the list asks for every answer.
        list(pool.map(lambda entry: _fetch_file(place / entry["path"], work / entry["path"], entry["sha256"]), missing))
    work.mkdir(parents=True, exist_ok=True)
    write_whole(work / integrity.MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    if work != final:
        os.rename(work, final)


def _fetch_file(source: RemotePath, target: Path, sha256: str) -> None:
    """One object, hashed on its way, under its name only when it is right."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.partial")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as near:
            for piece in _pieces(source):
                digest.update(piece)
                near.write(piece)
            near.flush()
            os.fsync(near.fileno())
        if digest.hexdigest() != sha256:
            raise IntegrityError("file", source, "is damaged: its sha256 is not the one in the manifest", "restore it or build it again")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _pieces(source: RemotePath) -> Iterator[bytes]:
    try:
        with source.open() as file:
            while piece := file.read(_PIECE):
                yield bytes(piece)
    except OSError as error:
        rule = f"cannot be read to its end ({str(error).splitlines()[0][:200]})"
        raise BadInput("dataset", source, rule, "check the store and start again; what was fetched is kept") from None


def _with_plain_paths(place: RemotePath, manifest: dict[str, Any]) -> dict[str, Any]:
    """`manifest`, none of whose files would be written elsewhere than below the copy."""
    for entry in manifest["files"]:
        parts = PurePosixPath(entry["path"]).parts
        if not parts or entry["path"].startswith("/") or "\\" in entry["path"] or any(part.startswith(".") for part in parts):
            raise IntegrityError("file", f"{place}: {entry['path']}", "is not a plain path inside the set", "build the set again")
    return manifest


def _is_whole(folder: Path) -> bool:
    try:
        return bool(integrity.verify(folder, KIND)["content_hash"] == folder.name)
    except IntegrityError as error:
        say(f"{error} The copy will be mended.")
        return False


def _is_right(folder: Path, entry: dict[str, Any]) -> bool:
    try:
        integrity.verify_file(folder, entry)
    except IntegrityError:
        return False
    return True


def _stamp(folder: Path) -> tuple[int, int] | None:
    """What changes whenever the set in `folder` was fetched or mended."""
    try:
        status = (folder / integrity.MANIFEST).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


@contextmanager
def _locked(final: Path) -> Iterator[None]:
    """Hold the copy of one set, whoever else wants it waiting; the operating system releases it when a process dies."""
    with final.with_name(f".{final.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
