"""The work on one unit, as plain functions: rows in, a table of samples and a list of rejects out. Ray only calls these.

A recipe without pretrained models goes straight: `compose_unit`, the encoder, `finish_unit`. With models, the pixel stages are
cut in two, `prepare_unit` and `compose_prepared`, and between them each model works on all records of the unit.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bfs_platform.data.execute.draft import Draft, Prepared
from bfs_platform.data.execute.finish import AnyWorkspace
from bfs_platform.data.model.base import Model, open_models
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.record import Part, Reason, Record, Reject
from bfs_platform.data.shard.file import pixel_table
from bfs_platform.data.source.read import read_part
from bfs_platform.data.spec import MEASURES, DataSpec
from bfs_platform.data.stage.compose import Composer
from bfs_platform.storage.path import Location


def compose_unit(unit: Unit, root: Location, composer: Composer) -> Draft:
    """Run the pixel stages over a unit. A record that fails becomes a reject; the others go on."""
    return compose_prepared(prepare_unit(unit, root, composer), composer)


def prepare_unit(unit: Unit, root: Location, composer: Composer) -> Prepared:
    """Read and fit the pictures of a unit."""
    start = time.perf_counter()

    def fetch(part: Part) -> bytes:
        return read_part(root, part)

    records, rejects = _each(unit.rows, lambda row: composer.prepare(row, fetch))
    receipt = Receipt(unit.shard, unit.key, None, [], rejects, {"compose": time.perf_counter() - start})
    return Prepared(tuple(records), receipt, tuple(row.id for row in unit.rows))


def apply_model(prepared: Prepared, model: Model) -> Prepared:
    """Let one model work on the records of a unit; those it refuses become rejects."""
    start = time.perf_counter()
    answers = model(prepared.records) if prepared.records else []
    kept = tuple(answer for answer in answers if isinstance(answer, Record))
    ids = [record.id for record in prepared.records]
    refused = [_rejected(i, answer) for i, answer in zip(ids, answers, strict=True) if isinstance(answer, Reject)]
    seconds = prepared.receipt.seconds | {model.name: time.perf_counter() - start}
    receipt = replace(prepared.receipt, rejects=[*prepared.receipt.rejects, *refused], seconds=seconds)
    return replace(prepared, records=kept, receipt=receipt)


def compose_prepared(prepared: Prepared, composer: Composer) -> Draft:
    """Make samples of prepared records."""
    start = time.perf_counter()
    samples, rejects = _each(prepared.records, composer.finish)
    records = [[s.id, list(s.tight_box), f"{s.hash:016x}"] for s in samples]
    place = {record_id: position for position, record_id in enumerate(prepared.order)}
    rejects = sorted([*prepared.receipt.rejects, *rejects], key=lambda reject: place[reject["id"]])
    compose_s = prepared.receipt.seconds["compose"] + time.perf_counter() - start
    seconds = prepared.receipt.seconds | {"compose": compose_s}
    measured = {name: [s.measures[name] for s in samples] for name in MEASURES}
    receipt = replace(prepared.receipt, records=records, rejects=rejects, measures=measured, seconds=seconds)
    return Draft(pixel_table(samples), receipt)


def finish_unit(draft: Draft, workspace: AnyWorkspace) -> Receipt:
    """Write the shard, then its receipt. A unit whose records were all rejected has a receipt and no file."""
    start = time.perf_counter()
    sha256, num_bytes = workspace.write_part(draft.table, draft.receipt.shard) if draft.table.num_rows else (None, 0)
    seconds = draft.receipt.seconds | {"write": time.perf_counter() - start}
    receipt = replace(draft.receipt, sha256=sha256, num_bytes=num_bytes, seconds=seconds)
    workspace.store(receipt)
    return receipt


class UnitWorker:
    """All stages of a recipe in one process, the weights loaded once."""

    def __init__(self, spec: DataSpec, root: Location, base: str, components: Any = None) -> None:
        self.root, self.composer = root, Composer(spec)
        self.models: Sequence[Model] = open_models(spec)
        self.encoder: Any = None
        if spec.encode.enabled:
            from bfs_platform.data.execute.encode import Encoder

            self.encoder = Encoder(spec.encode, base, components)

    def __call__(self, unit: Unit, workspace: AnyWorkspace) -> Receipt:
        """Build one unit."""
        prepared = prepare_unit(unit, self.root, self.composer)
        for model in self.models:
            prepared = apply_model(prepared, model)
        draft = compose_prepared(prepared, self.composer)
        return finish_unit(self.encoder(draft) if self.encoder else draft, workspace)


def _each(items: Sequence[Any], stage: Any) -> tuple[list[Any], list[dict[str, str]]]:
    """`stage` of every item that it takes, and a reject for every other."""
    done: list[Any] = []
    rejects: list[dict[str, str]] = []
    for item in items:
        try:
            done.append(stage(item))
        except Reject as reject:
            rejects.append(_rejected(item.id, reject))
        except MemoryError:
            rejects.append(_rejected(item.id, Reject(Reason.TOO_LARGE, "not enough memory for its pictures")))
    return done, rejects


def _rejected(record_id: str, reject: Reject) -> dict[str, str]:
    return {"id": record_id, "reason": str(reject.reason), "detail": reject.detail}
