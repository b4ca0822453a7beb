"""One malformed value in a source costs its record, a damaged file one clear line; neither ends in a traceback."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bfs_model.errors import BadInput
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.record import Part, Reason, Reject, Row
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import Licence, Source, open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.data.spec import DataSpec
from bfs_platform.storage.path import RemotePath

HALF = "\ud83d"  # of a surrogate pair


def built(source: Source, output: Path, spec: DataSpec) -> dict[str, str]:
    """Build; returns the reasons of the rejects by id."""
    build(source, output, spec, stream=in_process(source, spec, output))
    return {r["id"]: r["reason"] for r in map(json.loads, (output / "rejects.jsonl").read_text().splitlines())}


@pytest.mark.parametrize(
    "change", [{"source": ""}, {"source": "source"}, {"source": "/"}, {"source": "source/x\0.png"}, {"score": 10**400}, {"mask": "m\0.png"}]
)
def test_one_faulty_entry_is_one_reject(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, change: dict[str, Any]) -> None:
    """A path that names nothing, a NUL in it, a number without end: the other six records are built, from a folder and from a tar."""
    root = rorem(7)
    entries = json.loads((root / "meta.json").read_text())
    faulty = entries[4] | change
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for folder in ("source", "mask", "GT", "effect"):
            archive.add(root / folder, folder)
        text = json.dumps([*entries[:4], faulty, *entries[5:]]).encode()
        info = tarfile.TarInfo("meta.json")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    sources = [open_source("rorem_tar", tmp_path / "set.tar")]
    if "score" not in change:  # the streaming reader of JSON refuses such a number by itself
        (root / "meta.json").write_bytes(text)
        sources.append(open_source("rorem", root))
    for source in sources:
        assert list(built(source, tmp_path / source.name, pixel_spec).values()) == ["unreadable"]
        assert len(open_dataset(tmp_path / source.name)) == 6


def test_what_is_no_path_is_a_reject(tmp_path: Path) -> None:
    """A NUL, half a surrogate pair, a link to itself; on an object store nothing is even asked."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for root, path in [(tmp_path, "a\0b"), (tmp_path, HALF), (tmp_path, "loop"), (RemotePath("s3", "nowhere"), "a\0b")]:
        with pytest.raises(Reject) as caught:
            read_part(root, Part(path))
        assert caught.value.reason == Reason.UNREADABLE


@pytest.mark.parametrize("field", ["id", "caption", "path", "problem"])
def test_half_a_surrogate_pair_is_one_reject(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, field: str) -> None:
    """In an id, a caption or a file's name, from any source: nothing that cannot be written as UTF-8 gets beyond the listing."""
    root = rorem(3)
    parts = next(open_source("rorem", root).rows()).parts
    bad = {
        "id": Row(f"x{HALF}", "a disk", parts),
        "caption": Row("x", f"a {HALF}", parts),
        "path": Row("x", "a disk", parts | {"background": Part(f"{HALF}.png")}),
        "problem": Row("x", problem=HALF),
    }[field]

    def rows(place: Path) -> Iterator[Row]:
        yield bad
        yield from open_source("rorem", place).rows()

    rejects = built(Source("drawn", root, Licence("MIT", True), rows), tmp_path / "out", pixel_spec)
    assert rejects == {"x\\ud83d" if field == "id" else "x": "unreadable"} and len(open_dataset(tmp_path / "out")) == 3


def test_captions_with_half_a_surrogate_pair(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """As JSON brings them: the build goes on without that record."""
    root = rorem(3)
    for folder, name in (("source", "composite"), ("GT", "background")):
        (root / folder).rename(root / name)
    (root / "captions.json").write_text(r'{"0000": "a disk", "0001": "a \ud83d", "0002": "a disk"}')
    assert built(open_source("triplets", root), tmp_path / "out", pixel_spec) == {"0001": "unreadable"}


def test_a_cell_of_text_is_no_picture(tmp_path: Path) -> None:
    """A column of strings is refused: opened without isolation, one would be read as the path of a file of this machine."""
    secret = tmp_path / "secret.png"
    cells: dict[str, Any] = {"text": [str(secret)], "number": [0], "struct": [{"bytes": str(secret), "path": ""}], "good": [b"x"]}
    pq.write_table(pa.table(cells), tmp_path / "x.parquet")
    for column in ("text", "number", "struct"):
        with pytest.raises(Reject, match="not bytes") as caught:
            read_part(tmp_path, Part("x.parquet", container="parquet", column=column))
        assert caught.value.reason == Reason.UNREADABLE
    assert read_part(tmp_path, Part("x.parquet", container="parquet", column="good")) == b"x"


@pytest.mark.parametrize("name", ["ober", "anyinsertion", "triplets_parquet", "pipe"])
@pytest.mark.parametrize("content", [b"", b"PAR1 is how it begins", None])
def test_a_damaged_parquet_file_is_named(name: str, content: bytes | None, tmp_path: Path) -> None:
    """Empty, no Parquet at all, or with its footer overwritten: one line with the file and the cure."""
    path = tmp_path / "train-0.parquet"
    if content is None:
        pq.write_table(pa.table({"split": ["train"] * 500, "numbers": np.arange(500)}), path)
        content = path.read_bytes()[:-60] + b"\0" * 52 + path.read_bytes()[-8:]
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"train-0\.parquet is not readable Parquet .*; download it again"):
        list(open_source(name, tmp_path).rows())


def test_samfb_of_a_file_and_with_a_name_that_leads_away(tmp_path: Path) -> None:
    """A file is no SAM-FB folder; an absolute name in the list is one faulty row."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match=r"holds no prompt/prompt\.json"):
        list(open_source("samfb", tmp_path / "file").rows())
    (tmp_path / "set" / "prompt").mkdir(parents=True)
    (tmp_path / "set" / "prompt" / "prompt.json").write_text(json.dumps({"a.jpg": {}, "/etc/b.jpg": {}}))
    rows = list(open_source("samfb", tmp_path / "set").rows())
    assert [row.problem is None for row in rows] == [True, False] and "/etc/b.jpg" in str(rows[1].problem)
    assert rows[0].parts["composite"].path == "groundtruth/a.jpg"


def test_a_list_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """DESOBAv2's list of pictures in another encoding."""
    (tmp_path / "train.txt").write_bytes(b"caf\xe9.jpg\n")
    with pytest.raises(BadInput, match="is not a list in UTF-8"):
        list(open_source("desobav2", tmp_path).rows())
