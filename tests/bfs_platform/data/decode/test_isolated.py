"""Hostile pictures: whatever they do to their decoder, the process that asked goes on and knows what happened."""

import io
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.images import read_image
from bfs_platform.data.decode.isolated import IsolatedReader, reader_of
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.record import Reason, Reject
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec, DecoderSpec, ExecutionSpec

# A decoder that obeys the first word of the picture, and reads the others as usual.
FAKE = """
import os, signal, time
from bfs_model.picture.images import read_image

def decode(data, **settings):
    if data.startswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.startswith(b"endless"):
        while True:
            pass
    if data.startswith(b"sleep"):
        time.sleep(1000)
    if data.startswith(b"once"):
        flag = data[5:].decode()
        if os.path.exists(flag):
            os.unlink(flag)
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(bytes.fromhex(GOOD), **settings)
    if data.startswith(b"greedy"):
        return bytearray(2**28)
    print("chatter on stdout")
    return read_image(data, **settings)
"""


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


GOOD = png(np.full((5, 7, 3), 9, np.uint8))


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DecoderSpec]:
    """Tight limits and the fake decoder, importable for the child as it is for this process."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "fake_decoder.py").write_text(f"GOOD = {GOOD.hex()!r}\n{FAKE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield DecoderSpec(memory_bytes=2**27, cpu_s=0.5, wall_s=1.0, function="fake_decoder:decode")


@pytest.fixture(scope="module")
def reader(fake: DecoderSpec) -> Iterator[IsolatedReader]:
    reader = IsolatedReader(fake)
    yield reader
    reader.close()


def read(reader: IsolatedReader, data: bytes) -> np.ndarray:
    return reader(data, key="composite", max_pixels=1000).rgb


@pytest.mark.parametrize(("word", "reason"), [("crash", Reason.DECODER_DIED), ("endless", Reason.TOO_SLOW), ("sleep", Reason.TOO_SLOW)])
def test_a_decoder_that_dies_or_hangs_is_a_reject(reader: IsolatedReader, word: str, reason: Reason) -> None:
    """Crashing, computing for ever and waiting for ever are named; the next picture is read as if nothing had been."""
    started = time.monotonic()
    with pytest.raises(Reject) as caught:
        read(reader, word.encode())
    assert caught.value.reason == reason and "composite" in caught.value.detail
    assert time.monotonic() - started < 20
    assert (read(reader, GOOD) == 9).all()


def test_a_decoder_that_takes_all_memory_is_a_bad_picture(reader: IsolatedReader) -> None:
    """The child refuses it memory; this process never sees the size of it."""
    with pytest.raises(BadInput, match="MemoryError"):
        read(reader, b"greedy")


def test_a_child_that_was_killed_from_outside_costs_nothing(reader: IsolatedReader, tmp_path: Path) -> None:
    """The picture is tried once more in a fresh child, so a passing accident does not change what is rejected."""
    (tmp_path / "flag").touch()
    assert (read(reader, f"once {tmp_path / 'flag'}".encode()) == 9).all()
    assert not (tmp_path / "flag").exists()


def test_one_child_serves_many_pictures(reader: IsolatedReader) -> None:
    """The child is started once, also after a bad picture; killed between two pictures, it is started again."""
    read(reader, GOOD)
    assert reader._child is not None
    first = reader._child.pid
    for data in (b"not a picture", GOOD[:40], GOOD):
        try:
            read(reader, data)
        except BadInput:
            continue
    assert reader._child.pid == first
    os.kill(first, signal.SIGKILL)
    assert (read(reader, GOOD) == 9).all()
    assert reader._child.pid != first


def test_an_answer_that_was_not_read_to_its_end_is_nobody_elses(fake: DecoderSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """When memory runs out between the answer's first line and its pixels, the next picture gets its own."""

    def no_room(size: int) -> bytearray:
        monkeypatch.delattr("bfs_platform.data.decode.isolated.bytearray")
        raise MemoryError

    large = png(np.full((1000, 1000, 3), 200, np.uint8))  # more than the pipe holds
    reader = IsolatedReader(fake.model_copy(update={"wall_s": 30.0, "cpu_s": 20.0}))
    monkeypatch.setattr("bfs_platform.data.decode.isolated.bytearray", no_room, raising=False)
    with pytest.raises(MemoryError):
        reader(large, key="composite", max_pixels=1_000_000)
    try:
        assert (read(reader, GOOD) == 9).all()
    finally:
        reader.close()


def test_it_gives_what_reading_here_gives() -> None:
    """The same pixels and the same errors as `read_image` in this process: opaque, transparent, truncated, animated, bomb."""
    draw = np.random.default_rng(3)
    isolated, here = reader_of(DecoderSpec()), reader_of(DecoderSpec(isolated=False))
    for channels in (3, 4):
        data = png(draw.integers(0, 256, (61, 43, channels), dtype=np.uint8))
        images = [read(data, key="x", max_pixels=5000) for read in (isolated, here)]
        np.testing.assert_array_equal(images[0].rgba(), images[1].rgba())
        assert (images[0].alpha is None) == (channels == 3)
    header = bytearray(GOOD)
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    for data in (GOOD[:50], b"", b"GIF89a", bytes(header), png(draw.integers(0, 256, (99, 99), dtype=np.uint8))):
        said = []
        for read_one in (isolated, read_image):
            with pytest.raises(BadInput) as caught:
                read_one(data, key="x", max_pixels=5000)
            said.append((caught.value.key, caught.value.rule))
        assert said[0] == said[1]


def test_a_build_counts_hostile_pictures_and_goes_on(
    rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, fake: DecoderSpec
) -> None:
    """A crash, an endless decoder and a bomb among seven records: three rejects by reason, four records as without them."""
    root = rorem(7)
    (root / "source" / "0001.png").write_bytes(b"crash")
    (root / "mask" / "0003.png").write_bytes(b"endless")
    bomb = io.BytesIO()
    Image.new("L", (9000, 9000)).save(bomb, "PNG")
    (root / "GT" / "0005.png").write_bytes(bomb.getvalue())
    source = open_source("rorem", root)
    for name, decoder in (("hostile", fake), ("plain", DecoderSpec())):
        spec = pixel_spec.model_copy(update={"execution": ExecutionSpec(decoder=decoder)})
        build(source, tmp_path / name, spec, stream=in_process(source, spec, tmp_path / name))
        if name == "hostile":
            assert open_dataset(tmp_path / name).body["rejects"] == {"decoder_died": 1, "too_large": 1, "too_slow": 1}
            hostile = {f["path"]: f["sha256"] for f in open_dataset(tmp_path / name).manifest["files"] if f["path"].startswith("shards")}
            for bad in ("source/0001", "mask/0003", "GT/0005"):
                (root / f"{bad}.png").unlink()
    plain = {f["path"]: f["sha256"] for f in open_dataset(tmp_path / "plain").manifest["files"] if f["path"].startswith("shards")}
    assert hostile == plain
