"""Builds from and to an S3 server: the same dataset as on disk, whole or invisible, resumed, and read by ranges."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.execute.finish import BuildFailed
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.shard.show import describe
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import CheckSpec, DataSpec
from bfs_platform.storage.manifests import verify
from bfs_platform.storage.path import RemotePath, location

Upload = Callable[[Path, RemotePath], RemotePath]
SHARDS = ["shards/part-00000.parquet", "shards/part-00001.parquet", "shards/part-00002.parquet"]


def run(root: Any, output: Any, spec: DataSpec, stream: Callable[[list[Unit]], Iterable[Receipt]] | None = None) -> str:
    source = open_source("rorem", root)
    manifest = build(source, output, spec, stream=stream or in_process(source, spec, output))
    return str(json.loads(manifest.read_text())["content_hash"])


def test_the_same_dataset_as_on_disk(rorem_seven: Path, bucket: RemotePath, upload: Upload, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Input and output on the store: equal content hash, nothing but shards, rejects and manifest left, equal records."""
    on_disk = run(rorem_seven, tmp_path / "out", pixel_spec)
    root = upload(rorem_seven, bucket / "input")
    assert run(str(root), bucket / "out", pixel_spec) == on_disk
    assert sorted((bucket / "out").files()) == ["manifest.json", "rejects.jsonl", *SHARDS]
    near, far = open_dataset(tmp_path / "out"), open_dataset(f"s3://{bucket.key}/out", stage=1)
    for index in (6, 0, 4):
        for name in ("composite", "foreground"):
            np.testing.assert_array_equal(far.pictures(name, [index])[0], near.pictures(name, [index])[0])
    assert describe(f"s3://{bucket.key}/out")["num_records"] == 7


def test_a_stopped_build_is_invisible_and_goes_on(rorem_seven: Path, bucket: RemotePath, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """After one of three shards: no manifest, no dataset; the next run makes the other two; the end is the undisturbed hash."""
    output = bucket / "out"
    plain = in_process(open_source("rorem", rorem_seven), pixel_spec, output)

    def crashing(units: Sequence[Unit]) -> Iterator[Receipt]:
        yield from plain(units[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(rorem_seven, output, pixel_spec, crashing)
    with pytest.raises(IntegrityError, match="has no manifest"):
        open_dataset(output)
    made: list[int] = []

    def counting(units: Sequence[Unit]) -> Iterable[Receipt]:
        made.extend(unit.shard for unit in units)
        return plain(units)

    assert run(rorem_seven, output, pixel_spec, counting) == run(rorem_seven, tmp_path / "out", pixel_spec)
    assert made == [1, 2]


def test_cut_off_parts_are_made_again(rorem_seven: Path, bucket: RemotePath, pixel_spec: DataSpec) -> None:
    """A shard whose size is not the receipt's, and one whose receipt is unreadable, are not trusted."""
    output = bucket / "out"
    plain = in_process(open_source("rorem", rorem_seven), pixel_spec, output)
    with pytest.raises(BuildFailed):
        run(rorem_seven, output, pixel_spec, lambda units: list(plain(units))[:2])
    part = output / ".building/parts/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    (output / ".building/receipts/00001.json").write_bytes(b"{")
    made: list[int] = []

    def counting(units: Sequence[Unit]) -> Iterable[Receipt]:
        made.extend(unit.shard for unit in units)
        return plain(units)

    run(rorem_seven, output, pixel_spec, counting)
    assert made == [0, 1]
    verify(output, "dataset")


def with_copies(root: Path) -> Path:
    """Four records, and three of them once more."""
    entries = json.loads((root / "meta.json").read_text())
    for folder in ("source", "mask", "GT", "effect"):
        for copy, original in (("0101", "0001"), ("0102", "0002"), ("0103", "0003")):
            (root / folder / f"{copy}.png").write_bytes((root / folder / f"{original}.png").read_bytes())
    entries += [{key: f"{key}/{name}.png" for key in ("source", "mask", "GT")} | {"caption": "x"} for name in ("0101", "0102", "0103")]
    (root / "meta.json").write_text(json.dumps(entries))
    return root


def without_copies() -> DataSpec:
    spec = DataSpec(stage=1, buckets=((32, 32),), records_per_shard=3, max_reject_rate=0.5, checks=CheckSpec(duplicate_bits=0))
    return spec.model_copy(update={"encode": spec.encode.model_copy(update={"enabled": False})})


def test_near_copies_and_strangers_among_the_shards(rorem: Callable[..., Path], bucket: RemotePath, tmp_path: Path) -> None:
    """Copies are cut out of shards that are there already, a shard of nothing but copies goes, and so does what nobody listed."""
    root, spec = with_copies(rorem(4)), without_copies()
    output = bucket / "out"
    (output / ".building/build.json").write_bytes(b"{}")
    (output / "shards/part-00009.parquet").write_bytes(b"of an earlier, longer build")
    assert run(root, output, spec) == run(root, tmp_path / "out", spec)
    assert sorted(output.files()) == ["manifest.json", "rejects.jsonl", *SHARDS[:2]]
    assert open_dataset(output).body["rejects"] == {"duplicate": 3}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_two_runs_of_one_build_overlap(at: int, rorem: Callable[..., Path], bucket: RemotePath, tmp_path: Path) -> None:
    """One run starts and commits while another is at any of its shards: the set stays whole from then on, whatever the slower one puts,
    and both end with the hash of an undisturbed build and leave nothing but the set."""
    root, spec, output = with_copies(rorem(4)), without_copies(), bucket / "out"
    hashes: list[str] = []

    def overtaken(units: Sequence[Unit]) -> Iterator[Receipt]:
        for number, receipt in enumerate(in_process(open_source("rorem", root), spec, output)(units), start=1):
            if number == at:
                hashes.append(run(root, output, spec))
            if number >= at:
                verify(output, "dataset")
            yield receipt

    hashes.append(run(root, output, spec, overtaken))
    verify(output, "dataset")
    assert set(hashes) == {run(root, tmp_path / "out", spec)} and len(hashes) == 2
    assert sorted(output.files()) == ["manifest.json", "rejects.jsonl", *SHARDS[:2]]


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_stream_that_another_run_cuts_off(is_committed: bool, rorem: Callable[..., Path], bucket: RemotePath, tmp_path: Path) -> None:
    """What a run works on is cleared away by the one that commits: its error is none where that set is there, and stays one elsewhere."""
    root, spec, output = with_copies(rorem(4)), without_copies(), bucket / "out"

    def cut_off(units: Sequence[Unit]) -> Iterator[Receipt]:
        yield next(iter(in_process(open_source("rorem", root), spec, output)(units)))
        if is_committed:
            run(root, output, spec)
        raise RuntimeError("the list of units is gone")

    if is_committed:
        assert run(root, output, spec, cut_off) == run(root, tmp_path / "out", spec)
        assert sorted(output.files()) == ["manifest.json", "rejects.jsonl", *SHARDS[:2]]
    else:
        with pytest.raises(RuntimeError, match="list of units"):
            run(root, output, spec, cut_off)


def test_a_committed_set_is_never_overwritten_by_another(rorem_seven: Path, bucket: RemotePath, pixel_spec: DataSpec) -> None:
    """The same build again costs nothing; another one at the same place, or beside strangers' objects, is refused."""
    output = bucket / "out"

    def must_not_run(units: Sequence[Unit]) -> Iterable[Receipt]:
        raise AssertionError("built again")

    first = run(rorem_seven, output, pixel_spec)
    assert run(rorem_seven, output, pixel_spec, must_not_run) == first
    other = pixel_spec.model_copy(update={"seed": 8})
    with pytest.raises(BadInput, match="holds another dataset"):
        run(rorem_seven, output, other)
    (bucket / "thesis/notes.txt").write_bytes(b"x")
    with pytest.raises(BadInput, match="not written by BFS"):
        run(rorem_seven, bucket / "thesis", pixel_spec)
    (bucket / "begun/.building/build.json").write_bytes(b'{"owner": "somebody"}')
    with pytest.raises(BadInput, match="unfinished work of another build"):
        run(rorem_seven, bucket / "begun", pixel_spec)


def test_a_damaged_set_is_noticed_and_made_again(rorem_seven: Path, bucket: RemotePath, pixel_spec: DataSpec) -> None:
    """A flipped bit is found by hashing, a missing shard by the listing; building again mends it."""
    output = bucket / "out"
    first = run(rorem_seven, output, pixel_spec)
    data = bytearray((output / SHARDS[1]).read_bytes())
    data[len(data) // 2] ^= 1
    (output / SHARDS[1]).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="part-00001.parquet is damaged"):
        open_dataset(output)
    (output / SHARDS[1]).unlink()
    with pytest.raises(IntegrityError, match="missing"):
        open_dataset(output)
    assert run(rorem_seven, output, pixel_spec) == first
    verify(output)


def test_places_that_do_not_exist(s3_server: str, bucket: RemotePath, tmp_path: Path, rorem_seven: Path, pixel_spec: DataSpec) -> None:
    """A missing bucket, prefix or scheme is one line before any work."""
    with pytest.raises(BadInput, match="bucket that does not exist"):
        run(rorem_seven, RemotePath("s3", "no-such-bucket/x"), pixel_spec)
    with pytest.raises(BadInput, match="does not exist"):
        open_source("rorem", f"s3://{bucket.key}/absent")
    with pytest.raises(BadInput, match="store that is not known"):
        location("ftp://host/x")
    with pytest.raises(BadInput, match="is not a directory"):
        open_dataset(f"s3://{bucket.key}/absent")
    assert location(Path("s3://bucket/a/b")) == RemotePath("s3", "bucket/a/b")
    assert location(str(tmp_path)) == tmp_path
    with pytest.raises(integrity.IntegrityError):
        verify(bucket / "absent")


def test_tars_and_parquet_are_read_by_ranges(rorem_seven: Path, bucket: RemotePath, upload: Upload, tmp_path: Path) -> None:
    """A compressed tar and a Parquet file on the store list and give the same bytes as on disk."""
    import tarfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    from bfs_platform.data.source.read import read_part

    (tmp_path / "local").mkdir()
    with tarfile.open(tmp_path / "local" / "RORem_dataset.part1.tar.gz", "w:gz") as archive:
        archive.add(rorem_seven, "set")
    pictures = {n: [p.read_bytes() for p in sorted((rorem_seven / f).iterdir())] for f, n in (("source", "composite"), ("mask", "mask"))}
    pq.write_table(pa.table(pictures), tmp_path / "local" / "set.parquet")
    far_root = upload(tmp_path / "local", bucket / "input")
    for name in ("rorem_tar", "triplets_parquet"):
        near, far = open_source(name, tmp_path / "local"), open_source(name, str(far_root))
        rows = list(near.rows())
        assert rows == list(far.rows()) and len(rows) == 7
        for row in rows[::3]:
            assert [read_part(far.folder, p) for p in row.parts.values()] == [read_part(near.folder, p) for p in row.parts.values()]
