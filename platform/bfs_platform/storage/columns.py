"""Cells of Parquet files by row number. Rows of one shard lie side by side, so that a column is read on from where it was left."""

import threading
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bfs_model.errors import BadInput
from bfs_platform.storage.path import Location, RemotePath, version_of

# Without a small buffer, and with the one that they fill ahead, Parquet readers fetch the whole of a column before its first page.
BUFFER_BYTES = 4 * 2**20


def read_cell(path: Location, row: int, column: str) -> bytes | None:
    """The bytes in one cell: binary, or the `{bytes, path}` struct in which image columns are published. None where it is null.

    Raises `OSError` or `pyarrow.ArrowInvalid` for a damaged file, `IndexError` or `KeyError` for a cell that is not there,
    `TypeError` for one that holds something else: a text would be taken for the path of a file.
    """
    time_ns = version_of(path)[1]
    file, starts = _open(path, time_ns)
    group = bisect_right(starts, row) - 1 if 0 <= row < starts[-1] else -1
    if group < 0:
        raise IndexError(f"row {row} of {starts[-1]}")
    if column not in file.schema_arrow.names:
        raise KeyError(column)
    value = _column(path, time_ns, group, column).cell(row - starts[group])
    data = value["bytes"] if isinstance(value, dict) else value
    if not isinstance(data, bytes | None):
        raise TypeError(f"{column} of row {row} holds {type(data).__name__}, not bytes")
    return data


class _Column:
    """One column of one row group, read forwards, a cell at a time: a group of photographs may be larger than memory.

    What is held is a page, which is as small as the file's writer made it.
    """

    def __init__(self, file: pq.ParquetFile, group: int, column: str) -> None:
        kind = file.schema_arrow.field(column).type
        # Of the struct only the bytes: a column of paths beside them is of no use.
        name = f"{column}.bytes" if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else column
        self._read = lambda: file.iter_batches(batch_size=1, row_groups=[group], columns=[name], use_threads=False)
        self._rows: Iterator[pa.RecordBatch] = iter(())
        self._row, self._value = -1, None
        self._lock = threading.Lock()

    def cell(self, row: int) -> Any:
        """The value in a row. One before the last that was asked for starts anew."""
        with self._lock:
            if row < self._row or self._row < 0:
                self._rows, self._row = self._read(), -1
            batch: pa.RecordBatch | None = None
            try:
                while self._row < row:
                    batch = next(self._rows, None)
                    if batch is None:
                        raise EOFError(f"its row group ends before row {row}")
                    self._row += 1
                if batch is not None:
                    self._value = batch.column(0)[0].as_py()
            except BaseException:  # half of a page may be read: the next cell starts anew
                self._row = -1
                raise
            return self._value


def open_parquet(path: Location) -> pq.ParquetFile:
    """A Parquet file, wherever it lies."""
    return pq.ParquetFile(path.open() if isinstance(path, RemotePath) else path, buffer_size=BUFFER_BYTES, pre_buffer=False)


@lru_cache(maxsize=4)
def _open(path: Location, time_ns: int) -> tuple[pq.ParquetFile, list[int]]:
    file = open_parquet(path)
    counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    return file, [0, *accumulate(counts)]


@lru_cache(maxsize=8)
def _column(path: Location, time_ns: int, group: int, column: str) -> _Column:
    return _Column(_open(path, time_ns)[0], group, column)


def row_id(name: Any, file: str, row: int) -> str:
    """The id of a record in a row: what the data call it, which need not be unique, and its place, which is."""
    return f"{name}#{file}:{row}" if name else f"{file}:{row}"


def column_names(path: Location) -> list[str]:
    """Names of a file's columns. Raises `BadInput` for a damaged file."""
    with _whole(path):
        return list(open_parquet(path).schema_arrow.names)


def light_rows(path: Location, columns: list[str]) -> Iterator[dict[str, Any]]:
    """All rows of a file with small columns only (`"input.path"` reads one field of a struct); absent columns are left out.

    Raises `BadInput` for a damaged file.
    """
    with _whole(path):
        file = open_parquet(path)
        leaves = [file.schema.column(i).path for i in range(len(file.schema))]
        known = [c for c in columns if any(leaf == c or leaf.startswith(f"{c}.") for leaf in leaves)]
        if not known:
            yield from ({} for _ in range(file.metadata.num_rows))
            return
        for batch in file.iter_batches(columns=known, batch_size=4096):
            yield from batch.to_pylist()


@contextmanager
def _whole(path: Location) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise BadInput("input", path, f"is not readable Parquet ({error})", "download it again") from None
