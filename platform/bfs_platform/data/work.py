"""The work on one unit, as plain functions: rows in, a table of samples and a list of rejects out. Ray only calls these."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from bfs_platform.data.plan import Unit
from bfs_platform.data.read import read_part
from bfs_platform.data.record import Reason, Reject
from bfs_platform.data.shard_file import pixel_table, write_shard
from bfs_platform.data.stages.compose import Composer, Sample
from bfs_platform.data.workspace import Receipt, Workspace


@dataclass(frozen=True, slots=True)
class Draft:
    """A unit on its way: its table so far, and the receipt that will be written when the table is."""

    table: pa.Table
    receipt: Receipt = field(repr=False)


def compose_unit(unit: Unit, root: Path, composer: Composer) -> Draft:
    """Run the pixel stages over a unit. A record that fails becomes a reject; the others go on."""
    start = time.perf_counter()
    samples: list[Sample] = []
    rejects: list[dict[str, str]] = []
    for row in unit.rows:
        try:
            samples.append(composer(row, lambda part: read_part(root, part)))
        except Reject as reject:
            rejects.append({"id": row.id, "reason": str(reject.reason), "detail": reject.detail})
        except MemoryError:
            rejects.append({"id": row.id, "reason": str(Reason.TOO_LARGE), "detail": "not enough memory for its pictures"})
    records = [[s.id, list(s.tight_box), f"{s.hash:016x}"] for s in samples]
    receipt = Receipt(unit.shard, unit.key, None, records, rejects, {"compose": time.perf_counter() - start})
    return Draft(pixel_table(samples), receipt)


def finish_unit(draft: Draft, workspace: Workspace) -> Receipt:
    """Write the shard, then its receipt. A unit whose records were all rejected has a receipt and no file."""
    start = time.perf_counter()
    sha256 = write_shard(draft.table, workspace.part(draft.receipt.shard)) if draft.table.num_rows else None
    seconds = draft.receipt.seconds | {"write": time.perf_counter() - start}
    receipt = replace(draft.receipt, sha256=sha256, seconds=seconds)
    workspace.store(receipt)
    return receipt
