"""From collected shards to a committed dataset: near-copies dropped, rejects counted, manifest last."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bfs_platform.data.plan import Plan
from bfs_platform.data.record import Reason
from bfs_platform.data.remote_workspace import RemoteWorkspace
from bfs_platform.data.shard_file import shard_name
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.workspace import Receipt, Workspace
from bfs_platform.storage.path import Location, RemotePath

KIND = "dataset"
AnyWorkspace = Workspace | RemoteWorkspace


def workspace_of(output: Location) -> AnyWorkspace:
    """Where a dataset that will be at `output` grows."""
    return RemoteWorkspace(output) if isinstance(output, RemotePath) else Workspace(output)


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


def check_reject_rate(rejects: Sequence[dict[str, str]], total: int, allowed: float, listed: Location) -> None:
    """Raise `BuildFailed` when more than `allowed` of `total` records were rejected, or all of them."""
    if len(rejects) <= allowed * total and len(rejects) < total:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(r["reason"] for r in rejects).most_common())
    raise BuildFailed(
        f"{len(rejects)} of {total} records were rejected ({reasons}), more than max_reject_rate={allowed:g} allows; "
        f"see {listed}, mend the source or set max_reject_rate. Nothing was committed."
    )


def reject_lines(rejects: Sequence[dict[str, str]]) -> bytes:
    """One JSON object per line: id, reason, detail."""
    return "".join(json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in rejects).encode()


def commit(workspace: AnyWorkspace, plan: Plan, spec: DataSpec, receipts: Sequence[Receipt], notes: dict[str, Any]) -> Location:
    """Assemble the dataset from the collected shards and commit it onto the output. Returns the manifest's place."""
    receipts = sorted(receipts, key=lambda r: r.shard)
    copies = near_copies(receipts, spec.checks.duplicate_bits)
    rejects = all_rejects(receipts, copies)
    listed = workspace.write_rejects(reject_lines(rejects))
    check_reject_rate(rejects, plan.num_records, spec.max_reject_rate, listed)
    kept = {r.shard: [record_id for record_id, _, _ in r.records if record_id not in copies] for r in receipts}
    workspace.assemble(receipts, kept)
    shards = [{"path": shard_name(shard), "num_records": len(ids)} for shard, ids in kept.items() if ids]
    body = _body(plan, spec, shards, rejects) | next((r.shapes for r in receipts if r.shapes), {})
    return workspace.commit(KIND, body, notes)


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
    } | ({"models": plan.models} if plan.models else {})
