"""Which record belongs to which shard: decided before anything is read, so that a shard never depends on who builds it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Row, digest_of
from bfs_platform.data.sources.base import Source, manifest_of
from bfs_platform.data.spec import DataSpec

# Raised whenever a stage or the shard's layout changes what it produces from the same input.
STAGES_VERSION = 1
LIBRARIES = ("numpy", "pillow", "pymatting", "scipy", "pyarrow", "torch", "diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Unit:
    """The rows of one shard, and the key under which its result may be used again."""

    shard: int
    rows: tuple[Row, ...]
    key: str

    def to_json(self) -> str:
        return json.dumps({"shard": self.shard, "rows": [row.to_json() for row in self.rows], "key": self.key}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Unit":
        value = json.loads(text)
        return cls(value["shard"], tuple(Row.from_json(row) for row in value["rows"]), value["key"])


@dataclass(frozen=True, slots=True)
class Plan:
    """All units of a build, what the source is, and what the latents are made with."""

    units: tuple[Unit, ...]
    num_records: int
    source: dict[str, Any]
    base: dict[str, str] | None


def list_rows(source: Source, limit: int | None = None) -> list[Row]:
    """The first `limit` rows of `source`. Raises `BadInput` when it lists nothing."""
    rows = list(_listed(source, limit))
    if not rows:
        raise BadInput("input", source.root, "lists no records", f"point to a {source.name} dataset")
    return rows


def make_plan(source: Source, rows: list[Row], spec: DataSpec, base: dict[str, str] | None) -> Plan:
    """Cut the rows of `source` into units of `records_per_shard`, in listing order."""
    listing = digest_of([row.to_json() for row in rows])
    manifest = manifest_of(source.root)
    content_hash = manifest["content_hash"] if manifest else listing
    identity = digest_of([STAGES_VERSION, {name: version(name) for name in LIBRARIES}, spec.content(), base])
    units = tuple(
        Unit(shard, group, digest_of([identity, [[row.to_json(), _stamp(source.folder, row)] for row in group]]))
        for shard, group in enumerate(_groups(rows, spec.records_per_shard))
    )
    about = {"name": source.name, "licence": source.licence.name, "content_hash": content_hash}
    return Plan(units, len(rows), about, base)


def _groups(rows: list[Row], size: int) -> Iterator[tuple[Row, ...]]:
    for start in range(0, len(rows), size):
        yield tuple(rows[start : start + size])


def _listed(source: Source, limit: int | None) -> Iterator[Row]:
    """Rows in order; an id that was seen before makes a faulty row, because ids name records."""
    seen: set[str] = set()
    for position, row in enumerate(source.rows()):
        if position == limit:
            return
        if row.id in seen:
            row = replace(row, id=f"{row.id}#{position}", parts={}, problem=row.problem or f"the id {row.id} was used before")
        seen.add(row.id)
        yield row


def _stamp(root: Path, row: Row) -> list[list[int] | None]:
    """Size and time of each file of a row: a file that was mended or replaced is worked on again when a build resumes."""
    stamps: list[list[int] | None] = []
    for _, part in sorted(row.parts.items()):
        try:
            status = (root / part.path).stat()
            stamps.append([status.st_size, status.st_mtime_ns])
        except (OSError, ValueError):
            stamps.append(None)
    return stamps
