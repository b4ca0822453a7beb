"""Pictures by the hash of their bytes."""

from pathlib import Path

import pytest
from object_store import bucket, s3_server  # noqa: F401
from pyarrow.fs import FileSystem

from bfs_platform.storage.path import RemotePath
from bfs_serve.model.worker import failure
from bfs_serve.store.blobs import BlobLost, Blobs, BlobsAway


def test_a_damaged_picture_is_mended_by_who_sends_it_again(tmp_path: Path) -> None:
    """Of the same length, too: until then whoever asks for it is told."""
    blobs = Blobs(str(tmp_path))
    name = blobs.put(b"a picture")
    (file,) = (path for path in tmp_path.rglob(name) if path.is_file())
    file.write_bytes(b"a pictur\0")
    with pytest.raises(BlobLost, match="damaged"):
        blobs.get(name)
    assert blobs.put(b"a picture") == name and blobs.get(name) == b"a picture"


def test_an_object_store_is_a_folder(bucket: RemotePath) -> None:  # noqa: F811
    """Kept, found, listed and removed alike; what is younger than the grace period stays."""
    blobs = Blobs(f"{bucket}/pictures")
    name = blobs.put(b"a picture")
    assert blobs.put(b"a picture") == name and blobs.get(name) == b"a picture" and blobs.size(name) == 9 and blobs.has(name)
    assert blobs.names() == {name} and blobs.remove([name]) == 0 and blobs.remove([name], grace_s=0) == 1
    assert not blobs.has(name) and blobs.size(name) == 0 and blobs.names() == set()
    with pytest.raises(BlobLost, match="missing"):
        blobs.get(name)


def test_an_object_store_that_fails_is_away_for_now(bucket: RemotePath) -> None:  # noqa: F811
    """Here its bucket is gone. What it does not have is another matter."""
    blobs = Blobs(f"{bucket}/pictures")
    FileSystem.from_uri(f"{bucket}?allow_bucket_deletion=true")[0].delete_dir(bucket.bucket)
    with pytest.raises(BlobsAway):
        blobs.put(b"a picture")
    ended = failure(BlobsAway("timeout"))
    assert ended.retryable and ended.body["slug"] == "interrupted"
