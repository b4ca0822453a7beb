"""A source with one in ten records damaged, in ten different ways: exactly those are rejected, each for its reason."""

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import CheckSpec, DataSpec


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that claims to be that large."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    data = out.getvalue()
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def truncate(root: Path) -> None:
    path = root / "source" / "0003.png"
    path.write_bytes(path.read_bytes()[:-200])


def bomb(root: Path) -> None:
    (root / "source" / "0013.png").write_bytes(png_header_of(50_000, 50_000))


def transparent(root: Path) -> None:
    rewrite(root / "source" / "0023.png", lambda a: np.dstack([a, np.full(a.shape[:2], 90, np.uint8)]))


def misses(root: Path) -> None:
    rewrite(root / "mask" / "0033.png", lambda a: np.pad(np.full((4, 4), 255, np.uint8), ((0, a.shape[0] - 4), (0, a.shape[1] - 4))))


def empty(root: Path) -> None:
    rewrite(root / "mask" / "0043.png", np.zeros_like)


def covers(root: Path) -> None:
    rewrite(root / "mask" / "0053.png", lambda a: np.full_like(a, 255))


def copy(root: Path) -> None:
    for folder in ("source", "mask", "GT", "effect"):
        (root / folder / "0063.png").write_bytes((root / folder / "0001.png").read_bytes())


def wordless(entries: list[dict[str, str]]) -> None:
    entries[73]["caption"] = "  "


def gone(root: Path) -> None:
    (root / "GT" / "0083.png").unlink()


def shrunk(root: Path) -> None:
    rewrite(root / "GT" / "0093.png", lambda a: a[:-3])


EXPECTED = {
    "0003": "unreadable",
    "0013": "too_large",
    "0023": "wrong_mode",
    "0033": "mask_misses_object",
    "0043": "empty_mask",
    "0053": "box_covers_image",
    "0063": "duplicate",
    "0073": "empty_caption",
    "0083": "missing",
    "0093": "size_mismatch",
}


def test_ten_kinds_of_damage_in_a_hundred_records(rorem: Callable[..., Path], tmp_path: Path) -> None:
    """Ten rejects with the right ids and reasons, ninety records kept, and the sum is the source."""
    root = rorem(100)
    for damage in (truncate, bomb, transparent, misses, empty, covers, copy, gone, shrunk):
        damage(root)
    entries = json.loads((root / "meta.json").read_text())
    wordless(entries)
    (root / "meta.json").write_text(json.dumps(entries))
    spec = DataSpec(stage=1, buckets=((32, 32),), max_reject_rate=0.1, checks=CheckSpec(duplicate_bits=3))
    spec = spec.model_copy(update={"encode": spec.encode.model_copy(update={"enabled": False})}).named("tabletop_data_stage1")
    source = open_source("rorem", root)
    build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))
    rejects = {r["id"]: r["reason"] for r in map(json.loads, (tmp_path / "out" / "rejects.jsonl").read_text().splitlines())}
    assert rejects == EXPECTED
    dataset = open_dataset(tmp_path / "out")
    kept = set(dataset.take(range(len(dataset)), ["id"])["id"])
    assert len(dataset) == 90 and kept == {f"{i:04d}" for i in range(100)} - set(EXPECTED)
    assert sum(dataset.body["rejects"].values()) == 10
