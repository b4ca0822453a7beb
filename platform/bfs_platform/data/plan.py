"""Which record belongs to which shard: decided before anything is read, so that a shard never depends on who builds it."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Row, digest_of, digest_of_all
from bfs_platform.data.sources.base import Source, manifest_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.storage.path import Location, RemotePath, Status

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
    models: dict[str, dict[str, str]] = field(default_factory=dict)


def list_rows(source: Source, limit: int | None = None) -> list[Row]:
    """The first `limit` rows of `source`. Raises `BadInput` when it lists nothing."""
    rows = list(_listed(source, limit))
    if not rows:
        raise BadInput("input", source.root, "lists no records", f"point to a {source.name} dataset")
    return rows


def make_plan(
    source: Source, rows: list[Row], spec: DataSpec, base: dict[str, str] | None, models: dict[str, dict[str, str]] | None = None
) -> Plan:
    """Cut the rows of `source` into units of `records_per_shard`, in listing order.

    `base` and `models` say by name and content hash what the latents, and the stages that have a model, are made with.
    """
    listing = digest_of_all(row.to_json() for row in rows)
    manifest = manifest_of(source.root)
    content_hash = manifest["content_hash"] if manifest else listing
    identity = build_identity(spec, base, models or {})
    stamp = _stamps(source.folder)
    units = tuple(
        Unit(shard, group, digest_of([identity, [[row.to_json(), stamp(row)] for row in group]]))
        for shard, group in enumerate(_groups(rows, spec.records_per_shard))
    )
    about = {"name": source.name, "licence": source.licence.name, "content_hash": content_hash}
    return Plan(units, len(rows), about, base, models or {})


def build_identity(spec: DataSpec, base: dict[str, str] | None, models: dict[str, dict[str, str]]) -> str:
    """What decides the bytes of a shard, beside its rows: recipe, weights, versions of the libraries and of the stages."""
    made_with = [STAGES_VERSION, {name: version(name) for name in LIBRARIES}, spec.content(), base]
    return digest_of(made_with + ([models] if models else []))


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


def _stamps(root: Location) -> Callable[[Row], list[list[int] | None]]:
    """Size and time of each file of a row: a file that was mended or replaced is worked on again when a build resumes.

    Of an object store, one listing answers for all rows.
    """
    listed = root.files() if isinstance(root, RemotePath) else {}

    def status_of(path: str) -> Status | os.stat_result | None:
        if isinstance(root, RemotePath):
            return listed.get(path)
        try:
            return (root / path).stat()
        except (OSError, ValueError):
            return None

    def stamp(row: Row) -> list[list[int] | None]:
        found = [status_of(part.path) for _, part in sorted(row.parts.items())]
        return [None if status is None else [status.st_size, status.st_mtime_ns] for status in found]

    return stamp
