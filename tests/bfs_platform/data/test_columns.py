"""Cells of Parquet files: read a row at a time, in any order, whatever the size of the group that they lie in."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bfs_platform.data.source.base import open_source
from bfs_platform.storage import columns
from bfs_platform.storage.columns import light_rows, read_cell
from bfs_platform.storage.path import RemotePath

SIZE = 2**20
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def cell(number: int, size: int = SIZE) -> bytes:
    """Bytes that do not shrink, and differ from row to row."""
    return np.random.default_rng(number).bytes(size)


def write(path: Path, num: int, group: int, kind: Any = STRUCT, size: int = SIZE) -> Path:
    """`num` pictures in groups of `group` rows, row by row, so that no batch of the writer holds them all."""
    schema = pa.schema([("input", kind), ("split", pa.string())])
    with pq.ParquetWriter(path, schema, write_batch_size=1) as writer:  # a page per picture
        for start in range(0, num, group):
            rows = range(start, min(start + group, num))
            values = [{"bytes": cell(i, size), "path": "image.png"} if pa.types.is_struct(kind) else cell(i, size) for i in rows]
            pieces = [pa.array([value], kind) for value in values]
            writer.write_table(pa.table([pa.chunked_array(pieces), pa.array(["train"] * len(rows))], schema=schema), row_group_size=group)
    return path


@pytest.mark.parametrize("kind", [STRUCT, pa.binary(), pa.large_binary(), pa.struct([("path", pa.string()), ("bytes", pa.large_binary())])])
def test_cells_in_any_order(kind: Any, tmp_path: Path) -> None:
    """Forwards, backwards, the same again, over the edges of groups."""
    path = write(tmp_path / "a.parquet", 10, 4, kind, size=100)
    for row in (0, 1, 1, 3, 2, 9, 4, 8, 0, 7, 7, 5):
        assert read_cell(path, row, "input") == cell(row, 100)
    with pytest.raises(IndexError):
        read_cell(path, 10, "input")
    with pytest.raises(KeyError):
        read_cell(path, 0, "output")


def test_nulls_and_structs_without_bytes(tmp_path: Path) -> None:
    """Nothing where nothing is; something else than bytes is said to be that."""
    values = [{"bytes": b"x", "path": None}, None, {"bytes": None, "path": "elsewhere.png"}]
    pq.write_table(pa.table({"input": pa.array(values, STRUCT), "other": [{"path": "a"}] * 3}), tmp_path / "a.parquet")
    assert [read_cell(tmp_path / "a.parquet", row, "input") for row in range(3)] == [b"x", None, None]
    with pytest.raises(KeyError):
        read_cell(tmp_path / "a.parquet", 0, "other")


def test_memory_is_that_of_a_record(tmp_path: Path) -> None:
    """One group of 64 MiB: what Arrow holds at any time is a few of its rows."""
    path = write(tmp_path / "a.parquet", 64, 64)
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for row in range(64):
        assert read_cell(path, row, "input") == cell(row)
        most = max(most, pool.bytes_allocated() - before)
    assert most < 16 * SIZE


def test_a_batch_beyond_arrows_limit_is_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of more than 2 GiB of structs cannot be read at once; here every reading of more than one row is refused."""
    path = write(tmp_path / "a.parquet", 6, 6, size=1000)
    whole = pq.ParquetFile.iter_batches

    def by_row(self: pq.ParquetFile, batch_size: int = 65536, **options: Any) -> Any:
        if batch_size > 1:
            raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")
        return whole(self, batch_size=batch_size, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", by_row)
    for name in ("read_row_group", "read_row_groups", "read"):
        monkeypatch.delattr(pq.ParquetFile, name)
    assert [read_cell(path, row, "input") for row in range(6)] == [cell(row, 1000) for row in range(6)]


@pytest.mark.parametrize("name", ["ober", "anyinsertion", "triplets_parquet"])
def test_listing_reads_no_picture(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files without ids, captions and splits, and such whose picture column is the first: only small columns are asked for."""
    pictures = [{"bytes": cell(i, 1000), "path": "image.png"} for i in range(5)]
    pq.write_table(pa.table({"composite": pictures, "mask": pictures, "input": [b"x"] * 5}), tmp_path / "a.parquet")
    asked: list[str] = []
    whole = pq.ParquetFile.iter_batches

    def noted(self: pq.ParquetFile, columns: Any = None, **options: Any) -> Any:
        asked.extend(columns)
        return whole(self, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    assert len(list(open_source(name, tmp_path).rows())) == 5 and asked == []


def test_light_rows(tmp_path: Path) -> None:
    """Fields of structs, absent columns, and as many rows as there are where none of the columns is."""
    pq.write_table(pa.table({"input": [{"bytes": b"x", "path": "p"}] * 3, "a": [1, 2, 3]}), tmp_path / "a.parquet")
    assert list(light_rows(tmp_path / "a.parquet", ["input.path", "a", "z"])) == [{"input": {"path": "p"}, "a": n} for n in (1, 2, 3)]
    assert list(light_rows(tmp_path / "a.parquet", ["z", "input.z"])) == [{}, {}, {}]


def test_on_an_object_store(bucket: RemotePath, tmp_path: Path) -> None:
    """By ranges, with the same bytes."""
    write(tmp_path / "a.parquet", 5, 5, size=1000)
    (bucket / "cells.parquet").write_bytes((tmp_path / "a.parquet").read_bytes())
    assert [read_cell(bucket / "cells.parquet", row, "input") for row in (3, 4, 0)] == [cell(row, 1000) for row in (3, 4, 0)]
    assert columns.BUFFER_BYTES < 2**24
