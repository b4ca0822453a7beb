"""From collected shards to a committed dataset: near-copies dropped, rejects counted, manifest last."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bfs_model import integrity
from bfs_platform.data.plan import Plan
from bfs_platform.data.record import Reason
from bfs_platform.data.shard_file import shard_name, write_shard
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.workspace import Receipt, Workspace

REJECTS = "rejects.jsonl"
KIND = "dataset"


class BuildFailed(RuntimeError):
    """The build cannot give a dataset that its recipe accepts. One line: what, how much, what to do."""


def near_copies(receipts: Sequence[Receipt], max_bits: int | None) -> dict[str, str]:
    """Ids of records that repeat an earlier one → the earlier id.

    A copy shows the same object box and a difference hash at most `max_bits` of 64 bits away. Another object in the same
    picture is no copy.
    """
    if max_bits is None:
        return {}
    seen: dict[tuple[int, ...], list[tuple[int, str]]] = {}
    copies: dict[str, str] = {}
    for receipt in sorted(receipts, key=lambda r: r.shard):
        for record_id, box, text in receipt.records:
            value = int(text, 16)
            earlier = seen.setdefault(tuple(box), [])
            match = next((other for known, other in earlier if (known ^ value).bit_count() <= max_bits), None)
            if match is None:
                earlier.append((value, record_id))
            else:
                copies[record_id] = match
    return copies


def all_rejects(receipts: Sequence[Receipt], copies: dict[str, str]) -> list[dict[str, str]]:
    """Every reject in listing order of the shards, near-copies after the rejects of their shard."""
    out: list[dict[str, str]] = []
    for receipt in sorted(receipts, key=lambda r: r.shard):
        out += receipt.rejects
        doubles = [record_id for record_id, _, _ in receipt.records if record_id in copies]
        out += [{"id": i, "reason": str(Reason.DUPLICATE), "detail": f"shows the same as {copies[i]}"} for i in doubles]
    return out


def check_reject_rate(rejects: Sequence[dict[str, str]], total: int, allowed: float, listed: Path) -> None:
    """Raise `BuildFailed` when more than `allowed` of `total` records were rejected, or all of them."""
    if len(rejects) <= allowed * total and len(rejects) < total:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(r["reason"] for r in rejects).most_common())
    raise BuildFailed(
        f"{len(rejects)} of {total} records were rejected ({reasons}), more than max_reject_rate={allowed:g} allows; "
        f"see {listed}, mend the source or set max_reject_rate. Nothing was committed."
    )


def write_rejects(path: Path, rejects: Sequence[dict[str, str]]) -> None:
    """One JSON object per line: id, reason, detail."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in rejects), encoding="utf-8")


def commit(workspace: Workspace, plan: Plan, spec: DataSpec, receipts: Sequence[Receipt], notes: dict[str, Any]) -> Path:
    """Assemble the dataset from the collected shards and commit it onto the output. Returns the manifest's path."""
    copies = near_copies(receipts, spec.checks.duplicate_bits)
    rejects = all_rejects(receipts, copies)
    listed = workspace.root / REJECTS
    write_rejects(listed, rejects)
    check_reject_rate(rejects, plan.num_records, spec.max_reject_rate, listed)
    staging = workspace.root / "dataset"
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "shards").mkdir(parents=True)
    shards = [_place(workspace, staging, receipt, copies) for receipt in sorted(receipts, key=lambda r: r.shard)]
    shutil.copyfile(listed, staging / REJECTS)
    kept = [shard for shard in shards if shard is not None]
    body = _body(plan, spec, kept, rejects) | next((r.shapes for r in receipts if r.shapes), {})
    manifest = integrity.commit(staging, workspace.output, KIND, body, notes)
    workspace.remove()
    return manifest


def _place(workspace: Workspace, staging: Path, receipt: Receipt, copies: dict[str, str]) -> dict[str, Any] | None:
    """Put one shard into the dataset: as it is, or without its near-copies. The collected one stays for a later try."""
    kept = [record_id for record_id, _, _ in receipt.records if record_id not in copies]
    if not kept:
        return None
    part, target = workspace.part(receipt.shard), staging / shard_name(receipt.shard)
    if len(kept) < len(receipt.records):
        table = pq.read_table(part, page_checksum_verification=True)
        write_shard(table.filter(pc.is_in(table["id"], pa.array(kept, pa.string()))), target)
    else:
        _link(part, target)
    return {"path": shard_name(receipt.shard), "num_records": len(kept)}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _body(plan: Plan, spec: DataSpec, shards: list[dict[str, Any]], rejects: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "stage": spec.stage,
        "num_records": sum(shard["num_records"] for shard in shards),
        "encoded": plan.base is not None,
        "base": plan.base,
        "recipe": spec.identity(),
        "sources": [plan.source],
        "rejects": dict(sorted(Counter(r["reason"] for r in rejects).items())),
        "shards": shards,
    }
