"""From collected shards to a committed dataset: near-copies dropped, rejects counted, manifest last."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from bfs_platform.data.plan import Plan
from bfs_platform.data.remote_workspace import RemoteWorkspace
from bfs_platform.data.shard_file import shard_name
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.unit import Receipt
from bfs_platform.data.workspace import Workspace
from bfs_platform.storage.path import Location, RemotePath

KIND = "dataset"
AnyWorkspace = Workspace | RemoteWorkspace


def workspace_of(output: Location) -> AnyWorkspace:
    """Where a dataset that will be at `output` grows."""
    return RemoteWorkspace(output) if isinstance(output, RemotePath) else Workspace(output)


class BuildFailed(RuntimeError):
    """The build cannot give a dataset that its recipe accepts. One line: what, how much, what to do."""


def check_reject_rate(rejects: Counter[str], total: int, allowed: float, listed: Location) -> None:
    """Raise `BuildFailed` when more than `allowed` of `total` records were rejected, or all of them. `rejects` by reason."""
    if rejects.total() <= allowed * total and rejects.total() < total:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejects.most_common())
    raise BuildFailed(
        f"{rejects.total()} of {total} records were rejected ({reasons}), more than max_reject_rate={allowed:g} allows; "
        f"see {listed}, mend the source or set max_reject_rate. Nothing was committed."
    )


def commit(workspace: AnyWorkspace, plan: Plan, spec: DataSpec, notes: dict[str, Any]) -> Location:
    """Assemble the dataset from the collected shards and commit it onto the output. Returns the manifest's place."""
    ledger, shapes = plan.ledger, {}
    ledger.find_copies(spec.checks.duplicate_bits)
    listed = workspace.write_rejects(ledger.reject_lines())
    check_reject_rate(ledger.rejects, plan.num_records, spec.max_reject_rate, listed)
    shards: list[dict[str, Any]] = []

    def kept() -> Iterator[tuple[Receipt, list[str]]]:
        for receipt in ledger.receipts():
            shapes.update(receipt.shapes)
            copies = ledger.copies(receipt.shard)
            ids = [record_id for record_id, _, _ in receipt.records if record_id not in copies]
            if ids:
                shards.append({"path": shard_name(receipt.shard), "num_records": len(ids)})
            yield receipt, ids

    workspace.assemble(kept())
    return workspace.commit(KIND, _body(plan, spec, shards) | shapes, notes)


def _body(plan: Plan, spec: DataSpec, shards: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "stage": spec.stage,
        "num_records": sum(shard["num_records"] for shard in shards),
        "encoded": plan.base is not None,
        "base": plan.base,
        "recipe": spec.identity(),
        "sources": [plan.source],
        "rejects": dict(sorted(plan.ledger.rejects.items())),
        "shards": shards,
    } | ({"models": plan.models} if plan.models else {})
