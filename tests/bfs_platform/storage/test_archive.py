"""Random access into tars, compressed or not."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from bfs_platform.storage.archive import GzipReader, members, read_piece


def content(num_bytes: int = 700_000) -> bytes:
    """Half noise, half repetitive, so that compression is uneven."""
    noise = np.random.default_rng(1).integers(0, 256, num_bytes // 2, dtype=np.uint8).tobytes()
    return noise + b"abcdefgh" * (num_bytes // 16)


@pytest.mark.parametrize("layout", ["one", "members", "padded"])
def test_any_order_of_reads_gives_the_same_bytes(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random, sequential and interleaved reads equal slices of the whole; also of gzip files made of several members."""
    monkeypatch.setattr("bfs_platform.storage.archive.CHUNK", 5000)
    monkeypatch.setattr("bfs_platform.storage.archive.MAX_STEP", 20_000)
    data = content()
    packed = gzip.compress(data)
    if layout != "one":
        packed = gzip.compress(data[:300_001]) + gzip.compress(data[300_001:]) + (b"\0" * 500 if layout == "padded" else b"")
    (tmp_path / "x.gz").write_bytes(packed)
    reader = GzipReader(tmp_path / "x.gz", spacing=50_000)
    draw = np.random.default_rng(2)
    for _ in range(60):
        offset = int(draw.integers(0, len(data) - 5000))
        assert reader.read(offset, 4321) == data[offset : offset + 4321]
    for step in range(0, 90_000, 3000):
        for start in (0, 200_000, 450_000):
            assert reader.read(start + step, 3000) == data[start + step : start + step + 3000]
    assert len(reader._saved) > 5 and len(reader._cursors) <= 6
    assert reader.read(len(data) - 10, 10) == data[-10:]
    with pytest.raises(EOFError):
        reader.read(len(data) - 10, 11)


def test_jumping_back_does_not_start_over(tmp_path: Path) -> None:
    """After one pass, a jump decompresses from the nearest saved state: far less than the whole before it."""
    data = np.random.default_rng(0).integers(0, 256, 4_000_000, dtype=np.uint8).tobytes()
    (tmp_path / "x.gz").write_bytes(gzip.compress(data, 1))
    reader = GzipReader(tmp_path / "x.gz", spacing=300_000)
    reader.read(3_999_000, 1000)
    state, start, _ = reader._nearest(3_000_000)
    assert 3_000_000 - start <= 300_000 + 4 * 256 * 1024
    assert state.raw > 2_000_000


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_are_found_by_offset(tmp_path: Path, mode: str) -> None:
    """What one pass lists can be read again by offset and size; folders and links are skipped."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, mode) as archive:
        for name, data in (("./a/1.png", b"one"), ("a/2.png", b"two" * 1000), ("empty", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = {member.name: member for member, _ in members(path)}
    assert sorted(found) == ["a/1.png", "a/2.png", "empty"]
    assert [read_piece(path, m.offset, m.size) for m in found.values()] == [b"one", b"two" * 1000, b""]


def test_damage_is_an_error_not_other_bytes(tmp_path: Path) -> None:
    """A flipped bit or a cut in a compressed archive raises."""
    packed = bytearray(gzip.compress(content()))
    (tmp_path / "cut.gz").write_bytes(packed[:-100_000])
    with pytest.raises(EOFError):
        GzipReader(tmp_path / "cut.gz").read(690_000, 100)
    packed[-4] ^= 1
    (tmp_path / "flip.gz").write_bytes(packed)
    with pytest.raises((EOFError, zlib.error)):
        GzipReader(tmp_path / "flip.gz").read(699_000, 1001)
