"""From the name of a model to a folder whose every file was checked."""

import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfs_model import integrity
from bfs_model.errors import IntegrityError
from bfs_model.weight.bundle import content_hash as content_hash_of
from bfs_model.weight.bundle import locate
from bfs_platform.registry.absent import check_known, explaining
from bfs_platform.registry.folder import check_file, check_folder, check_listing
from bfs_platform.registry.store import (
    CONTENT_HASH,
    MODEL_ID,
    Reference,
    Registry,
    Unreachable,
    is_reference,
    registry_errors,
    transfer_timeout,
)
from bfs_platform.tracking.uri import bfs_home, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)


def resolve(uri: str | Path, *, registry_uri: str | None = None) -> Path:
    """The folder of a model; for the registry, downloaded into the cache and checked against its manifest every time.

    Args: `uri` is `tiny` or a folder, which are passed through, `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
    A version that was resolved before also works while the registry is away; an alias does not, since it may have moved.
    Raises: `BadInput` when model, version or alias does not exist or the registry cannot be reached; `IntegrityError`.
    """
    if str(uri) == "tiny":
        return Path("tiny")
    if not is_reference(str(uri)):
        return locate(uri)
    reference = Reference.parse(str(uri))
    index = _Index(registry_uri or tracking_uri(), reference.name)
    check_known(registry_uri or tracking_uri(), reference)
    try:
        registry = Registry.open(registry_uri)
        version = registry.find(reference)
    except Unreachable as error:
        return _from_cache(index, reference, error)
    return fetch(registry, version)


def pin(uri: str | Path, *, registry_uri: str | None = None) -> str:
    """`models:/NAME@ALIAS` as `models:/NAME/VERSION`, the version that carries the alias now; anything else unchanged."""
    if not is_reference(str(uri)):
        return str(uri)
    reference = Reference.parse(str(uri))
    if reference.version:
        return str(reference)
    return f"models:/{reference.name}/{Registry.open(registry_uri).find(reference).version}"


def located(uri: str, *, registry_uri: str | None = None) -> tuple[str, str]:
    """`pin` of a reference to the registry, and the content hash of that version, which lies in the cache then.

    For who asks again and again: a version whose files this process has checked is believed for as long as the registry says the same
    hash of it. Raises as `resolve` does.
    """
    reference = Reference.parse(uri)
    try:
        registry = Registry.open(registry_uri)
        version = registry.find(reference)
    except Unreachable:
        if not reference.version:
            raise
        return uri, content_hash_of(resolve(uri, registry_uri=registry_uri))
    content_hash = version.tags.get(CONTENT_HASH, "")
    if content_hash not in _checked:
        fetch(registry, version)
        _checked.add(content_hash)
    return f"models:/{version.name}/{version.version}", content_hash


_checked: set[str] = set()


def fetch(registry: Registry, version: "ModelVersion") -> Path:
    """The cached folder of a version, downloaded if it is not there yet or no longer whole.

    Raises: `IntegrityError` when what the registry holds is not what the version's content hash says.
    """
    name, number = version.name, str(version.version)
    content_hash = version.tags.get(CONTENT_HASH, "")
    if len(content_hash) != 64 or not set(content_hash) <= set("0123456789abcdef"):
        raise IntegrityError("model", f"models:/{name}/{number}", "carries no content hash", "register it with BFS")
    final = _cache() / content_hash
    if not _is_whole(final, content_hash):
        _download(registry, version, content_hash, final)
    index = _Index(registry.uri, name)
    index.remember(number, content_hash)
    return final


def _download(registry: Registry, version: "ModelVersion", content_hash: str, final: Path) -> None:
    """Fetch the manifest, then only the files that it lists, check each, and rename the whole into the cache."""
    import mlflow

    what = f"models:/{version.name}/{version.version}"
    staging = integrity.staging_for(final)
    try:
        with registry_errors(registry.uri, "model", what), transfer_timeout():
            root = _artifact_root(registry, version, what)

            def download(path: str) -> None:
                target = (staging / path).parent
                with explaining(registry.uri, root, path, what):
                    mlflow.artifacts.download_artifacts(f"{root}/{path}", dst_path=str(target), tracking_uri=registry.uri)

            download(integrity.MANIFEST)
            manifest = check_listing(integrity.read_manifest(staging, "model"))
            if manifest[CONTENT_HASH] != content_hash:
                raise IntegrityError("model", what, "holds other content than its version says", "register the model again")
            for entry in manifest["files"]:
                download(entry["path"])
                check_file(staging, entry)
        _publish(staging, final, content_hash)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _artifact_root(registry: Registry, version: "ModelVersion", what: str) -> str:
    """Where MLflow itself keeps the version's files. A source that points anywhere else was not written by `register`."""
    from mlflow.entities import LoggedModelStatus

    logged = registry.client.get_logged_model(version.tags.get(MODEL_ID, "m-unknown"))
    if version.source != logged.artifact_location or logged.status != LoggedModelStatus.READY:
        raise IntegrityError("model", what, f"has the source {version.source}, which is not its own upload", "register it with BFS")
    return str(logged.artifact_location).rstrip("/")


def _publish(staging: Path, final: Path, content_hash: str) -> None:
    """Rename into the cache. Whoever comes second finds the same content there and keeps it."""
    if final.exists():
        if _is_whole(final, content_hash):
            return
        damaged = final.with_name(f".{final.name}.{os.getpid()}.damaged")
        os.rename(final, damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        os.rename(staging, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not _is_whole(final, content_hash):  # another was faster
            raise


def _is_whole(folder: Path, content_hash: str) -> bool:
    if not folder.is_dir():
        return False
    try:
        return bool(check_folder(folder)[CONTENT_HASH] == content_hash)
    except IntegrityError as error:
        log.warning("The cached model %s is damaged and will be fetched again: %s", folder, error)
        return False


def _from_cache(index: "_Index", reference: Reference, error: Unreachable) -> Path:
    if reference.version is None:
        known = index.versions()
        remedy = f"or name a version that is cached here: models:/{reference.name}/{known[-1]}" if known else error.remedy
        raise Unreachable(error.key, error.value, error.rule, remedy) from None
    content_hash = index.content_hash(reference.version)
    if content_hash is None or not _is_whole(_cache() / content_hash, content_hash):
        raise error
    log.warning("The registry is away; using the cached copy of %s", reference)
    return _cache() / content_hash


def _cache() -> Path:
    return bfs_home() / "cache" / "models"


class _Index:
    """Which content a version of a registry had when it was last resolved: one small file per version."""

    def __init__(self, registry_uri: str, name: str) -> None:
        registry = hashlib.sha256(registry_uri.encode()).hexdigest()[:16]
        self._folder = bfs_home() / "cache" / "versions" / registry / name

    def remember(self, version: str, content_hash: str) -> None:
        if self.content_hash(version) == content_hash:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{version}.{os.getpid()}.partial"
        temporary.write_text(content_hash, encoding="utf-8")
        os.replace(temporary, self._folder / version)

    def content_hash(self, version: str) -> str | None:
        path = self._folder / version
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def versions(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted((path.name for path in self._folder.iterdir() if path.name.isdigit()), key=int)


def describe(folder: Path | str) -> dict[str, Any]:
    """Content hash and base of a model or bundle, for results that name what they were made with."""
    manifest = integrity.read_manifest(locate(folder))
    return {"kind": manifest["kind"], CONTENT_HASH: manifest[CONTENT_HASH], "base": manifest["body"].get("base")}
