"""Reading a training set."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec


@pytest.fixture(scope="module")
def built(rorem_seven: Path, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoded stage-1 set of seven records in shards of three; not to be changed."""
    spec = DataSpec(stage=1, buckets=((32, 32),), records_per_shard=3).named("tabletop_data_stage1")
    source, output = open_source("rorem", rorem_seven), tmp_path_factory.mktemp("built") / "set"
    build(source, output, spec, base=str(bundle_path), stream=in_process(source, spec, output, str(bundle_path)))
    return output


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """A copy of `built` that may be damaged."""
    import shutil

    return Path(shutil.copytree(built, tmp_path / "set"))


def test_records_by_number(built: Path) -> None:
    """Any order, repeated or not, across shards; what comes back belongs to the record that was asked for."""
    dataset = open_dataset(built, stage=1)
    assert len(dataset) == 7 and dataset.encoded
    taken = dataset.take([6, 0, 4, 0], ["id", "caption", "box", "height"])
    assert taken["id"] == ["0006", "0000", "0004", "0000"]
    assert taken["caption"][0] == "a blue disk"
    assert taken["box"].shape == (4, 4) and taken["box"].dtype == np.int32
    np.testing.assert_array_equal(taken["box"][1], taken["box"][3])
    assert taken["height"].tolist() == [32] * 4
    with pytest.raises(IndexError):
        dataset.take([7], ["id"])


def test_latents_and_embeddings_have_their_shapes(built: Path) -> None:
    """float32, in the shapes the manifest states, independent of how they are grouped."""
    dataset = open_dataset(built)
    latents = dataset.latents("z_fg_std", [5, 1, 2])
    assert latents.shape == (3, 16, 8, 8) and latents.dtype == np.float32 and (latents > 0).all()
    np.testing.assert_array_equal(latents[1], dataset.latents("z_fg_std", [1])[0])
    assert dataset.prompt_embeds([0, 3]).shape == (2, 16, 64) and dataset.pooled_embeds([0, 3]).shape == (2, 64)
    assert latents.flags.writeable, "torch.from_numpy must not warn"


def test_pictures(built: Path) -> None:
    """Each picture in its own form."""
    dataset = open_dataset(built)
    shapes = {name: dataset.pictures(name, [3])[0] for name in ("composite", "background", "foreground", "object_mask", "effect_mask")}
    assert {name: None if p is None else p.shape for name, p in shapes.items()} == {
        "composite": (32, 32, 3),
        "background": (32, 32, 3),
        "foreground": (32, 32, 4),
        "object_mask": (32, 32),
        "effect_mask": (32, 32),
    }


def test_buckets_cover_all_records(built: Path) -> None:
    """Every record is in exactly one size."""
    assert {size: rows.tolist() for size, rows in open_dataset(built).buckets().items()} == {(32, 32): list(range(7))}


def test_a_small_cache_gives_the_same(built: Path) -> None:
    """With room for next to nothing, the same values come back."""
    wide, narrow = open_dataset(built), open_dataset(built, cache_bytes=10)
    order = [6, 0, 3, 1, 5, 0, 2]
    np.testing.assert_array_equal(wide.latents("z_bg_mean", order), narrow.latents("z_bg_mean", order))
    assert len(narrow._cache) == 1


def test_a_row_group_is_read_once_for_all_columns(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the cache holds next to nothing: what is read is used before it is dropped."""
    dataset = open_dataset(built, cache_bytes=10)
    reads: list[list[str]] = []
    original = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, **given: Any) -> Any:
        reads.append(given["columns"])
        return original(file, group, **given)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    names = ["z_bg_mean", "z_comp_mean", "prompt_embeds", "pooled_embeds"]
    found = dataset.encodings([6, 0, 3, 1, 5, 0, 2], names)
    assert len(reads) == len({dataset._place(i)[:2] for i in range(7)}) and set(names) <= set(reads[0])
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(names, 7)


def test_few_files_are_open_at_once(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shards there are: the same records, and threads that read together do not close each other's files."""
    monkeypatch.setattr("bfs_platform.data.shard.reading.OPEN_FILES", 1)
    wide, narrow = open_dataset(built, cache_bytes=10), open_dataset(built, cache_bytes=10)
    before = len(os.listdir("/proc/self/fd"))
    orders = [np.random.default_rng(n).permutation(7).tolist() for n in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda order: narrow.take(order, ["id", "background_png"]), orders))
    assert [taken["id"] for taken in found] == [[f"{n:04d}" for n in order] for order in orders]
    assert found[0] == wide.take(orders[0], ["id", "background_png"])
    assert len(narrow._files) == 1 and set(narrow._groups) == {0, 1, 2}
    assert len(os.listdir("/proc/self/fd")) - before <= 2, "one for each of the two"


def test_a_lack_of_descriptors_is_no_damage(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is told to raise the limit, not to build the dataset again."""

    def full(path: Path) -> pq.ParquetFile:
        raise OSError(errno.EMFILE, "Too many open files")

    dataset = open_dataset(built)
    monkeypatch.setattr("bfs_platform.data.shard.reading._parquet", full)
    with pytest.raises(BadInput, match="too many open files; raise its limit") as caught:
        dataset.take([0], ["id"])
    assert not isinstance(caught.value, IntegrityError)


def test_a_damaged_shard_is_named(copied: Path) -> None:
    """One flipped bit in one shard stops the reader with the name of that shard."""
    shard = copied / "shards" / "part-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match="part-00001.parquet is damaged"):
        open_dataset(copied)


def test_damage_after_opening_is_noticed_too(copied: Path) -> None:
    """Without the hash check at opening, page checksums still refuse a flipped bit in the data."""
    shard = copied / "shards" / "part-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    dataset = open_dataset(copied, verify=False)
    columns = [f"{name}_png" for name in ("composite", "background", "foreground")]
    columns += [f"z_{name}_{moment}" for name in ("bg", "comp", "fg") for moment in ("mean", "std")]
    with pytest.raises(IntegrityError, match="part-00001.parquet is damaged"):
        dataset.take(range(3, 6), columns)


def test_refusals(copied: Path, tmp_path: Path) -> None:
    """No directory, no manifest, a missing shard, another stage, a manifest that was edited: each in one line."""
    with pytest.raises(BadInput, match="is not a directory"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(BadInput, match="is a stage-1 set, not stage 2"):
        open_dataset(copied, stage=2)
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["body"]["num_records"] = 8
    (tmp_path / "edited").mkdir()
    (tmp_path / "edited" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="content hash"):
        open_dataset(tmp_path / "edited")
    (copied / "shards" / "part-00002.parquet").unlink()
    with pytest.raises(IntegrityError, match="part-00002.parquet is listed in the manifest and missing"):
        open_dataset(copied)
    (copied / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match="has no manifest"):
        open_dataset(copied)
