"""Which record belongs to which shard: decided before anything is read, so that a shard never depends on who builds it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.ledger import Ledger, Units
from bfs_platform.data.record import ListDigest, Row, digest_of
from bfs_platform.data.sources.base import Source, manifest_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.unit import Unit
from bfs_platform.storage.path import Location, RemotePath, Status

# Raised whenever a stage or the shard's layout changes what it produces from the same input.
STAGES_VERSION = 1
LIBRARIES = ("numpy", "pillow", "pymatting", "scipy", "pyarrow", "torch", "diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Plan:
    """All units of a build, on disk; what decides the dataset as a whole; what the source is, and what the latents are made with."""

    ledger: Ledger
    num_records: int
    identity: str
    source: dict[str, Any]
    base: dict[str, str] | None
    models: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def units(self) -> Units:
        """All of them, in listing order."""
        return Units(self.ledger, range(self.ledger.num_units))


def make_plan(source: Source, spec: DataSpec, base: dict[str, str] | None, models: dict[str, dict[str, str]] | None = None) -> Plan:
    """Cut the rows of `source` into units of `records_per_shard`, in listing order.

    `base` and `models` say by name and content hash what the latents, and the stages that have a model, are made with.
    Raises `BadInput` when the source lists nothing.
    """
    ledger, listing, keys = Ledger(), ListDigest(), ListDigest()
    made_with = build_identity(spec, base, models or {})
    stamp = _stamps(source.folder)
    rows = _listed(source, spec.max_records, ledger)
    for shard, group in enumerate(_groups(rows, spec.records_per_shard)):
        described = [row.to_json() for row in group]
        listing.add(described)
        unit = Unit(shard, group, digest_of([made_with, [[text, stamp(row)] for text, row in zip(described, group, strict=True)]]))
        keys.add([unit.key])
        ledger.add_unit(unit)
    if not listing.length:
        raise BadInput("input", source.root, "lists no records", f"point to a {source.name} dataset")
    manifest = manifest_of(source.root)
    content_hash = manifest["content_hash"] if manifest else listing.hexdigest()
    about = {"name": source.name, "licence": source.licence.name, "content_hash": content_hash}
    identity = digest_of([spec.identity()["spec"] | {"execution": None}, keys.hexdigest()])
    return Plan(ledger, listing.length, identity, about, base, models or {})


def build_identity(spec: DataSpec, base: dict[str, str] | None, models: dict[str, dict[str, str]]) -> str:
    """What decides the bytes of a shard, beside its rows: recipe, weights, versions of the libraries and of the stages."""
    made_with = [STAGES_VERSION, {name: version(name) for name in LIBRARIES}, spec.content(), base]
    return digest_of(made_with + ([models] if models else []))


def _groups(rows: Iterator[Row], size: int) -> Iterator[tuple[Row, ...]]:
    while group := tuple(islice(rows, size)):
        yield group


def _listed(source: Source, limit: int | None, ledger: Ledger) -> Iterator[Row]:
    """The first `limit` rows in order; an id that was seen before makes a faulty row, because ids name records."""
    for position, row in enumerate(map(_writable, islice(source.rows(), limit))):
        if not ledger.is_new(row.id):
            row = replace(row, id=f"{row.id}#{position}", parts={}, problem=row.problem or f"the id {row.id} was used before")
            ledger.is_new(row.id)
        yield row


def _writable(row: Row) -> Row:
    """`row`; a faulty one where a text of it cannot be written down: half of a surrogate pair, as from a file's name that is not UTF-8."""
    texts = [row.id, row.caption, row.problem or "", *(text for part in row.parts.values() for text in (part.path, part.column))]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        name = row.id.encode(errors="backslashreplace").decode()
        return Row(name, problem=f"a text of it is not Unicode ({error.reason})")
    return row


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
        found = [status_of(path) for _, part in sorted(row.parts.items()) for path in part.files]
        return [None if status is None else [status.st_size, status.st_mtime_ns] for status in found]

    return stamp
