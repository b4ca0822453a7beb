"""The layout of a training shard, and its one writer: deterministic Parquet with page checksums, renamed into place when whole."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bfs_model import integrity
from bfs_model.picture.images import png_bytes
from bfs_platform.data.stage.compose import Sample

LATENTS = ("z_bg", "z_comp", "z_fg")
PICTURES = ("composite", "background", "foreground", "object_mask", "effect_mask")
# Small, so that one record can be read without its whole shard.
ROWS_PER_GROUP = 8

PIXEL_FIELDS = [
    pa.field("id", pa.string()),
    pa.field("caption", pa.string()),
    pa.field("height", pa.int32()),
    pa.field("width", pa.int32()),
    pa.field("box", pa.list_(pa.int32())),
    *(pa.field(f"{name}_png", pa.binary()) for name in PICTURES),
]
# Little-endian float32; latents (C, height/f, width/f), already normalised; prompt_embeds (L, D); pooled_embeds (P,).
ENCODED_FIELDS = [
    *(pa.field(f"{name}_{moment}", pa.binary()) for name in LATENTS for moment in ("mean", "std")),
    pa.field("prompt_embeds", pa.binary()),
    pa.field("pooled_embeds", pa.binary()),
]


def schema(encoded: bool) -> pa.Schema:
    """The columns of a shard, in order."""
    return pa.schema(PIXEL_FIELDS + (ENCODED_FIELDS if encoded else []))


def shard_name(shard: int) -> str:
    """Path of a shard inside its dataset."""
    return f"shards/part-{shard:05d}.parquet"


def pixel_table(samples: Sequence[Sample]) -> pa.Table:
    """Samples as a table of PNG bytes."""
    columns: dict[str, list[Any]] = {
        "id": [s.id for s in samples],
        "caption": [s.caption for s in samples],
        "height": [s.composite.shape[0] for s in samples],
        "width": [s.composite.shape[1] for s in samples],
        "box": [list(s.box) for s in samples],
    }
    for name in PICTURES:
        pictures = [getattr(s, name) for s in samples]
        columns[f"{name}_png"] = [b"" if picture is None else png_bytes(picture) for picture in pictures]
    return pa.table(columns, schema=schema(encoded=False))


def with_columns(table: pa.Table, arrays: dict[str, list[np.ndarray]]) -> pa.Table:
    """`table` with the encoded columns added; `arrays` holds one float array per row and column."""
    columns = {name: table[name] for name in table.column_names}
    columns |= {f.name: pa.array([a.astype("<f4").tobytes() for a in arrays[f.name]], pa.binary()) for f in ENCODED_FIELDS}
    return pa.table(columns, schema=schema(encoded=True))


def write_shard(table: pa.Table, path: Path) -> str:
    """Write, fsync and rename `table` to `path`; equal tables give equal bytes. Returns the file's sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write(table, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        digest = integrity.sha256_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def shard_bytes(table: pa.Table) -> tuple[pa.Buffer, str]:
    """What `write_shard` would write, and its sha256."""
    sink = pa.BufferOutputStream()
    _write(table, sink)
    data = sink.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def _write(table: pa.Table, sink: Any) -> None:
    # PNG and float noise do not compress further; dictionaries and statistics would only repeat them.
    pq.write_table(
        table,
        sink,
        row_group_size=ROWS_PER_GROUP,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=True,
    )


def to_ipc(table: pa.Table) -> bytes:
    """A table as one value, so that a shard travels between stages as one row and is never split."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    """The inverse of `to_ipc`."""
    return pa.ipc.open_stream(data).read_all()
