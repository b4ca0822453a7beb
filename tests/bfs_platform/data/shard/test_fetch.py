"""Training sets of an S3 server, copied to this machine: once, whole or not at all, whoever else wants them, whatever breaks."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.shard import fetch
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec
from bfs_platform.storage.path import RemotePath

SHARD = "shards/part-00001.parquet"


@pytest.fixture
def far(rorem_seven: Path, bucket: RemotePath, tmp_path: Path, pixel_spec: DataSpec, upload: Callable[..., RemotePath]) -> RemotePath:
    """A set of seven records in three shards on the store; the same lies in `tmp_path / "near"`."""
    source = open_source("rorem", rorem_seven)
    build(source, tmp_path / "near", pixel_spec, stream=in_process(source, pixel_spec, tmp_path / "near"))
    return upload(tmp_path / "near", bucket / "set")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that this process opened, in order."""
    opened: list[str] = []
    original = RemotePath.open

    def counting(self: RemotePath, mode: str = "rb") -> Any:
        opened.append(self.name)
        return original(self, mode)

    monkeypatch.setattr(RemotePath, "open", counting)
    return opened


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_copy_is_the_set_and_is_made_once(far: RemotePath, tmp_path: Path, read: list[str]) -> None:
    """All files bit for bit, under the content hash; the second time only the manifest is read."""
    copy = fetch.local_copy(far, tmp_path / "cache")
    assert files_of(copy) == files_of(tmp_path / "near")
    assert copy.name == integrity.verify(copy, "dataset")["content_hash"]
    assert sorted(read) == ["manifest.json", *(f"part-0000{n}.parquet" for n in range(3)), "rejects.jsonl"]
    read.clear()
    assert fetch.local_copy(far, tmp_path / "cache") == copy and read == ["manifest.json"]
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted([copy.name, f".{copy.name}.lock"])


def test_whoever_wants_it_together_fetches_it_once(far: RemotePath, tmp_path: Path, read: list[str], monkeypatch: Any) -> None:
    """Four at the same moment, while the store is slow: one fetches, the others wait, all get the same whole copy."""
    original = fetch._fetch_file

    def slow(source: RemotePath, target: Path, sha256: str) -> None:
        time.sleep(0.3)
        original(source, target, sha256)

    monkeypatch.setattr(fetch, "_fetch_file", slow)
    together = threading.Barrier(4)

    def copy(number: int) -> Path:
        together.wait()
        return fetch.local_copy(far, tmp_path / "cache")

    with ThreadPoolExecutor(4) as callers:
        copies = set(callers.map(copy, range(4)))
    assert len(copies) == 1 and files_of(copies.pop()) == files_of(tmp_path / "near")
    assert sorted(name for name in read if name != "manifest.json") == [*(f"part-0000{n}.parquet" for n in range(3)), "rejects.jsonl"]


def test_what_broke_off_goes_on(far: RemotePath, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that stops answering at the last shard: one line, nothing that looks like a set; then only that shard is fetched."""
    original = fetch._fetch_file

    def failing(source: RemotePath, target: Path, sha256: str) -> None:
        if source.name == "part-00002.parquet":
            raise BadInput("dataset", source, "cannot be read to its end")
        original(source, target, sha256)

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_fetch_file", failing)
        with pytest.raises(BadInput, match=r"part-00002.*cannot be read"):
            fetch.local_copy(far, tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache").iterdir() if not p.name.startswith(".")]
    read.clear()
    assert files_of(fetch.local_copy(far, tmp_path / "cache")) == files_of(tmp_path / "near")
    assert read == ["manifest.json", "part-00002.parquet"]


def test_a_damaged_object_is_named_and_never_kept(far: RemotePath, tmp_path: Path) -> None:
    """A flipped bit on the store is an error that names the object; a missing one too; neither leaves a set."""
    data = bytearray((far / SHARD).read_bytes())
    data[len(data) // 2] ^= 1
    (far / SHARD).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"s3://.*part-00001.parquet is damaged"):
        fetch.local_copy(far, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(f"*{Path(SHARD).name}*"))
    (far / SHARD).unlink()
    with pytest.raises(IntegrityError, match="part-00001.parquet is listed in the manifest and missing"):
        fetch.local_copy(far, tmp_path / "cache")


def test_a_damaged_copy_is_mended_in_place(far: RemotePath, tmp_path: Path, read: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A bit that flipped on the disk costs one shard, and a run that reads the copy meanwhile keeps its directory."""
    copy = fetch.local_copy(far, tmp_path / "cache")
    inode = copy.stat().st_ino
    data = bytearray((copy / SHARD).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / SHARD).write_bytes(bytes(data))
    read.clear()
    assert fetch.local_copy(far, tmp_path / "cache") == copy and read == ["manifest.json", "part-00001.parquet"]
    assert files_of(copy) == files_of(tmp_path / "near") and copy.stat().st_ino == inode
    assert "will be mended" in capsys.readouterr().err


def test_no_file_is_written_outside(far: RemotePath, tmp_path: Path) -> None:
    """A manifest that lists a path leading elsewhere is refused before anything is fetched."""
    manifest = json.loads((far / "manifest.json").read_text())
    manifest["files"].append({"path": "../escaped", "bytes": 1, "sha256": "0" * 64})
    manifest["content_hash"] = integrity.content_hash("dataset", manifest["body"], manifest["files"])
    (far / "manifest.json").write_bytes(json.dumps(manifest).encode())
    with pytest.raises(IntegrityError, match=r"escaped is not a plain path"):
        fetch.local_copy(far, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_is_too_small_is_said_at_once(far: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room that is missing stands in the message, before a byte of a shard is fetched."""
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(BadInput, match=r"BFS_HOME=.* has 0.0 GiB left"):
        fetch.local_copy(far, tmp_path / "cache")


def test_where_copies_are_kept(far: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process's BFS_HOME if it has one, else in the home that it was told; a directory is opened where it lies."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "own"))
    assert fetch.open_near(str(far), tmp_path / "told").root.parent == tmp_path / "own" / "datasets"
    monkeypatch.delenv("BFS_HOME")
    assert fetch.open_near(str(far), tmp_path / "told").root.parent == tmp_path / "told" / "datasets"
    assert fetch.open_near(tmp_path / "near").root == tmp_path / "near"
