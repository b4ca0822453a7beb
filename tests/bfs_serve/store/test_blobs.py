"""Pictures by the hash of their bytes."""

from pathlib import Path

import pytest

from bfs_serve.store.blobs import BlobLost, Blobs


def test_a_damaged_picture_is_mended_by_who_sends_it_again(tmp_path: Path) -> None:
    """Of the same length, too: until then whoever asks for it is told."""
    blobs = Blobs(str(tmp_path))
    name = blobs.put(b"a picture")
    (file,) = (path for path in tmp_path.rglob(name) if path.is_file())
    file.write_bytes(b"a pictur\0")
    with pytest.raises(BlobLost, match="damaged"):
        blobs.get(name)
    assert blobs.put(b"a picture") == name and blobs.get(name) == b"a picture"
