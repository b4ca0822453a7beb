"""From collected shards to a committed dataset: near-copies dropped, rejects counted, manifest last."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bfs_platform.data.execute import held_out
from bfs_platform.data.plan.curation import curate, quantiles
from bfs_platform.data.plan.plan import Plan
from bfs_platform.data.plan.unit import Receipt
from bfs_platform.data.record import Reason
from bfs_platform.data.shard.file import shard_name
from bfs_platform.data.shard.remote_workspace import RemoteWorkspace
from bfs_platform.data.shard.workspace import Workspace
from bfs_platform.data.spec import KIND, DataSpec
from bfs_platform.storage.path import Location, RemotePath

_LOOK_BYTES = 2**20
AnyWorkspace = Workspace | RemoteWorkspace


def workspace_of(output: Location) -> AnyWorkspace:
    """Where a dataset that will be at `output` grows."""
    return RemoteWorkspace(output) if isinstance(output, RemotePath) else Workspace(output)


class BuildFailed(RuntimeError):
    """The build cannot give a dataset that its recipe accepts. One line: what, how much, what to do."""


# What to do about the commonest reason, where it is not the source that has to be mended.
_WANTED = (Reason.LOW_QUALITY, Reason.HELD_OUT)
_REMEDIES = {
    Reason.EMPTY_CAPTION: "set caption.kind=blip2 or default_caption=…, or put a captions file beside the input (captions.json, .csv)",
    Reason.NO_BACKGROUND: "set background.kind=harmonic or background.kind=objectclear",
    Reason.NO_EFFECT_MASK: "set shadow.kind=procedural, or give the effect masks",
    Reason.EMPTY_MASK: "make the masks white (255) where the object is, or lower checks.min_object_pixels",
    Reason.WRONG_MODE: "save masks in grey and pictures without transparency",
    Reason.TOO_LARGE: "scale the pictures down or raise checks.max_pixels",
    Reason.TOO_SMALL: "set smaller buckets or raise checks.max_upscale",
    Reason.TOO_SLOW: "raise execution.decoder.cpu_s",
    Reason.BOX_COVERS_IMAGE: "raise checks.max_box_fraction",
    Reason.MASK_MISSES_OBJECT: "mend the masks or lower checks.min_difference",
    Reason.LAYER_MISFIT: "give the layers and backgrounds that belong together, or raise layers.max_error",
    Reason.LOW_SCORE: "lower checks.min_score, or filter.min_score",
    Reason.LOW_QUALITY: "lower the bounds of curation",
    Reason.HELD_OUT: "give another source, or leave the set out of curation.apart_from",
    Reason.DUPLICATE: "leave the copies out of the source, or set checks.duplicate_bits=null",
}


def check_reject_rate(rejects: Counter[str], total: int, allowed: float, listed: Location) -> None:
    """Raise `BuildFailed` when more than `allowed` of `total` records were rejected, or all of them. `rejects` by reason.

    What the recipe asked to leave out is no fault of the source.
    """
    faults = sum(count for reason, count in rejects.items() if reason not in _WANTED)
    if faults <= allowed * total and rejects.total() < total:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejects.most_common())
    commonest = rejects.most_common(1)[0][0]
    remedy = _REMEDIES.get(Reason(commonest), "mend the source") + (" or set max_reject_rate" if rejects.total() < total else "")
    raise BuildFailed(
        f"{rejects.total()} of {total} records were rejected ({reasons}), more than max_reject_rate={allowed:g} allows"
        f"{_example(listed, commonest)}; see {listed}; {remedy}. Nothing was committed."
    )


def _example(listed: Location, reason: str) -> str:
    """The first reject of a reason, in words."""
    file: Any
    with listed.open("rb") as file:
        lines = file.read(_LOOK_BYTES).split(b"\n")[:-1]
    first = next((reject for reject in map(json.loads, lines) if reject["reason"] == reason), None)
    return f", first {first['id']}: {first['detail']}" if first else ""


def commit(workspace: AnyWorkspace, plan: Plan, spec: DataSpec, notes: dict[str, Any]) -> Location:
    """Assemble the dataset from the collected shards and commit it onto the output. Returns the manifest's place."""
    ledger, shapes = plan.ledger, {}
    curate(ledger, spec, held_out.pictures(spec.curation.apart_from))
    listed = workspace.write_rejects(ledger.reject_lines())
    check_reject_rate(ledger.rejects, plan.num_records, spec.max_reject_rate, listed)
    shards: list[dict[str, Any]] = []

    def distinct() -> Iterator[tuple[Receipt, list[str]]]:
        for receipt in ledger.receipts():
            shapes.update(receipt.shapes)
            dropped = ledger.dropped(receipt.shard)
            ids = [record_id for record_id, _, _ in receipt.records if record_id not in dropped]
            if ids:
                shards.append({"path": shard_name(receipt.shard), "num_records": len(ids)})
            yield receipt, ids

    workspace.assemble(distinct())
    notes |= {"measures": quantiles(ledger)}
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
    } | {key: value for key, value in (("models", plan.models), ("apart_from", plan.apart_from)) if value}
