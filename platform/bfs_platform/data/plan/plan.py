"""Which record belongs to which shard: decided before anything is read, so that a shard never depends on who builds it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.plan.ledger import Ledger, Units
from bfs_platform.data.plan.unit import Unit
from bfs_platform.data.record import ListDigest, Row, digest_of, seed_of
from bfs_platform.data.source.base import Source, manifest_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.storage.path import Location, RemotePath, Status

# Raised whenever a stage or the shard's layout changes what it produces from the same input.
STAGES_VERSION = 2
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
    apart_from: list[dict[str, str]] = field(default_factory=list)

    @property
    def units(self) -> Units:
        """All of them, in listing order."""
        return Units(self.ledger, range(self.ledger.num_units))


def make_plan(
    source: Source,
    spec: DataSpec,
    base: dict[str, str] | None,
    models: dict[str, dict[str, str]] | None = None,
    apart_from: list[dict[str, str]] | None = None,
) -> Plan:
    """Cut the rows of `source` into units of `records_per_shard`, in listing order.

    `base` and `models` say by name and content hash what the latents, and the stages that have a model, are made with, `apart_from` the
    sets whose pictures it leaves out.
    Raises `BadInput` when the source lists nothing.
    """
    ledger, listing, keys = Ledger(), ListDigest(), ListDigest()
    made_with = build_identity(spec, base, models or {})
    stamp = _stamps(source.folder)
    rows = _listed(_multiplied(_rows(source, ledger), spec), ledger)
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
    decided = [spec.decisions(), keys.hexdigest(), *([apart_from] if apart_from else [])]
    return Plan(ledger, listing.length, digest_of(decided), about, base, models or {}, apart_from or [])


def build_identity(spec: DataSpec, base: dict[str, str] | None, models: dict[str, dict[str, str]]) -> str:
    """What decides the bytes of a shard, beside its rows: recipe, weights, versions of the libraries and of the stages."""
    made_with = [STAGES_VERSION, {name: version(name) for name in LIBRARIES}, spec.content(), base]
    return digest_of(made_with + ([models] if models else []))


def _groups(rows: Iterator[Row], size: int) -> Iterator[tuple[Row, ...]]:
    while group := tuple(islice(rows, size)):
        yield group


def _multiplied(rows: Iterator[Row], spec: DataSpec) -> Iterator[Row]:
    """The first `max_records` rows in order, each followed by its mirror image and by crops of both where the recipe wants them."""
    for row in islice(rows, spec.max_records):
        yield row
        if spec.mirror:
            yield replace(row, id=f"{row.id}-mirrored", mirrored=True)
        for number in range(1, spec.crops.count + 1):
            yield replace(row, id=f"{row.id}-crop{number}", cropped=True)
            if spec.mirror:
                yield replace(row, id=f"{row.id}-mirrored-crop{number}", mirrored=True, cropped=True)


def _listed(rows: Iterator[Row], ledger: Ledger) -> Iterator[Row]:
    """The rows in order. Ids name records: to one that was used before the row's place in the list is added.

    A row that also shows the same as the one before is a faulty one.
    """
    for position, row in enumerate(map(_writable, rows)):
        name, shown = row.id, seed_of(*sorted(row.parts.items()), row.box)
        while not ledger.is_new(row.id, shown):  # again where the data have such a name themselves
            if row.id == name and ledger.shown(name) == shown:
                row = replace(row, parts={}, problem=row.problem or f"the record {name} was listed before")
            row = replace(row, id=f"{row.id}#{position}")
        yield row


def _rows(source: Source, ledger: Ledger) -> Iterator[Row]:
    """The rows of a source; what it passed over is counted."""
    for item in source.listed():
        if isinstance(item, Row):
            yield item
        else:
            ledger.note_skipped(item.path)


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
