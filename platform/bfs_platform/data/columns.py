"""Cells of Parquet files by row number, with the last row groups kept: rows of one shard lie side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bfs_model.errors import BadInput
from bfs_platform.storage.path import Location, RemotePath, version_of


def read_cell(path: Location, row: int, column: str) -> bytes | None:
    """The bytes in one cell: binary, or the `{bytes, path}` struct in which image columns are published. None where it is null.

    Raises `OSError` or `pyarrow.ArrowInvalid` for a damaged file, `IndexError` or `KeyError` for a cell that is not there,
    `TypeError` for one that holds something else: a text would be taken for the path of a file.
    """
    time_ns = version_of(path)[1]
    file, starts = _open(path, time_ns)
    group = next(i for i in range(len(starts) - 1) if row < starts[i + 1]) if 0 <= row < starts[-1] else -1
    if group < 0:
        raise IndexError(f"row {row} of {starts[-1]}")
    if column not in file.schema_arrow.names:
        raise KeyError(column)
    value = _group(path, time_ns, group, column)[row - starts[group]].as_py()
    data = value["bytes"] if isinstance(value, dict) else value
    if not isinstance(data, bytes | None):
        raise TypeError(f"{column} of row {row} holds {type(data).__name__}, not bytes")
    return data


def open_parquet(path: Location) -> pq.ParquetFile:
    """A Parquet file, wherever it lies."""
    return pq.ParquetFile(path.open() if isinstance(path, RemotePath) else path)


@lru_cache(maxsize=4)
def _open(path: Location, time_ns: int) -> tuple[pq.ParquetFile, list[int]]:
    file = open_parquet(path)
    counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    return file, [0, *accumulate(counts)]


@lru_cache(maxsize=6)
def _group(path: Location, time_ns: int, group: int, column: str) -> pa.ChunkedArray:
    return _open(path, time_ns)[0].read_row_group(group, columns=[column])[column]


def column_names(path: Location) -> list[str]:
    """Names of a file's columns. Raises `BadInput` for a damaged file."""
    with _whole(path):
        return list(open_parquet(path).schema_arrow.names)


def light_rows(path: Location, columns: list[str]) -> list[dict[str, Any]]:
    """All rows of a file with small columns only (`"input.path"` reads one field of a struct); absent columns are left out.

    Raises `BadInput` for a damaged file.
    """
    rows: list[dict[str, Any]] = []
    with _whole(path):
        file = open_parquet(path)
        known = [c for c in columns if c.split(".")[0] in file.schema_arrow.names]
        for batch in file.iter_batches(columns=known, batch_size=4096):
            rows += batch.to_pylist()
    return rows


@contextmanager
def _whole(path: Location) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise BadInput("input", path, f"is not readable Parquet ({error})", "download it again") from None
