"""A row group of photographs that is larger than Arrow can read at once, through the source that publishes such files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bfs_platform.data.source.base import open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.storage.columns import read_cell

pytestmark = pytest.mark.soak

NUM_ROWS, SIZE = 48, 50_000_000
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(number: int) -> bytes:
    """Bytes that shrink on disk: 50 MB of which only the beginning differs."""
    return b"%08d" % number + bytes(SIZE)


def test_more_than_two_gibibytes_in_one_group(tmp_path: Path) -> None:
    """Every record is there; memory grows by a few pictures, where reading the column as a whole fails."""
    pieces = [pa.array([{"bytes": picture(i), "path": "image.png"}], STRUCT) for i in range(NUM_ROWS)]
    table = pa.table({"input": pa.chunked_array(pieces), "object_mask": pa.array([{"bytes": b"x", "path": ""}] * NUM_ROWS, STRUCT)})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=NUM_ROWS)
    del pieces, table
    file = pq.ParquetFile(tmp_path / "train.parquet")
    assert file.metadata.num_row_groups == 1 and file.metadata.row_group(0).column(0).total_uncompressed_size > 2**31
    with pytest.raises(pa.ArrowNotImplementedError):
        file.read_row_group(0, columns=["input"])
    rows = list(open_source("ober", tmp_path).rows())
    assert len({row.id for row in rows}) == NUM_ROWS
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for number in (0, 1, 20, NUM_ROWS - 1, 3):
        assert read_part(tmp_path, rows[number].parts["composite"])[:8] == b"%08d" % number
        most = max(most, pool.bytes_allocated() - before)
    assert most < 6 * SIZE
    assert read_cell(tmp_path / "train.parquet", NUM_ROWS - 1, "object_mask") == b"x"
