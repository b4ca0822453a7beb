"""What a large build will take, from what a small one took: cores, GPUs, hours, storage, cost.

The small build's manifest holds the rate at which it ran once it was going, how many cores it had, what every stage took per
record, and how large its shards are. Nothing else is assumed: a plan for other pictures, another recipe or other processors
needs a small build of those.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.spec import KIND
from bfs_platform.storage.manifests import read_manifest
from bfs_platform.storage.path import Location

# What the job keeps of every record in a temporary file: its row, and what became of it (measured: 113 bytes, with checksums 300).
LISTED_BYTES = 300
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_COUNT = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmb]?)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Measured:
    """One small build. Seconds per record are of one core, `gpu_s` of one GPU; `stages` are busy seconds per record and stage."""

    num_records: int
    cores: int
    records_per_s: float
    first_s: float
    first_records: int
    tail_s: float
    stages: dict[str, float]
    gpu_s: float
    bytes_per_record: float
    reject_rate: float

    @property
    def core_s(self) -> float:
        """What a record costs in core seconds, waiting and handing over included."""
        return self.cores / self.records_per_s

    def wall_s(self, num_records: int, cores: int) -> float:
        """Seconds that a build of `num_records` takes on `cores`."""
        rate = self.records_per_s * cores / self.cores
        return self.first_s + max(0, num_records - self.first_records) / rate + self.tail_s


@dataclass(frozen=True, slots=True)
class Hardware:
    """A node and what it costs; prices in any currency."""

    node_cpus: int = 64
    node_gpus: int = 0
    node_hour_cost: float = 0.0
    gb_month_cost: float = 0.0


def measure(place: Location) -> Measured:
    """The figures of the build at `place`. Raises `BadInput` when it was too small, or continued, so that they say nothing."""
    manifest = read_manifest(place, KIND)
    body, notes = manifest["body"], manifest["notes"]
    facts = notes.get("measured") or {}
    processed = body["num_records"] + sum(body["rejects"].values())
    if facts.get("records") != processed:
        rule = "holds no figures of one whole run: it was resumed, has fewer than four shards, or was built by an earlier version"
        raise BadInput("measured", place, rule, "build a few hundred records anew and give that")
    stages = {name: seconds / processed for name, seconds in notes["stage_s"].items()}
    return Measured(
        num_records=processed,
        cores=facts["cores"],
        records_per_s=facts["records_per_s"],
        first_s=facts["first_s"],
        first_records=facts["first_records"],
        tail_s=facts["tail_s"],
        stages=stages,
        gpu_s=sum(seconds * _gpus(notes["execution"], name) for name, seconds in stages.items()),
        bytes_per_record=sum(entry["bytes"] for entry in manifest["files"]) / processed,
        reject_rate=1 - body["num_records"] / processed,
    )


def plan(measured: Measured, num_records: int, hardware: Hardware, hours: float = 24.0, nodes: int | None = None) -> dict[str, Any]:
    """What a build of `num_records` takes: on `nodes` nodes, or on as many as finish it within `hours`.

    Raises `BadInput` when the small build used GPUs and the nodes have none.
    """
    if measured.gpu_s and not hardware.node_gpus:
        raise BadInput("node-gpus", 0, "but the measured build used GPUs", "say how many a node has")
    core_hours, gpu_hours = num_records * measured.core_s / 3600, num_records * measured.gpu_s / 3600
    per_node = [core_hours / hardware.node_cpus] + ([gpu_hours / hardware.node_gpus] if hardware.node_gpus else [])
    overhead_h = (measured.first_s + measured.tail_s) / 3600
    if nodes is None:
        if hours <= overhead_h:
            raise BadInput("hours", hours, "is less than a build needs to start and to end", f"allow more than {overhead_h:.2f}")
        nodes = max(1, math.ceil(max(per_node) / (hours - overhead_h)))
    wall_h = max(per_node) / nodes + overhead_h
    num_bytes = num_records * measured.bytes_per_record
    node_hours = nodes * wall_h
    return {
        "records": num_records,
        "records_kept": round(num_records * (1 - measured.reject_rate)),
        "nodes": nodes,
        "wall_hours": wall_h,
        "node_hours": node_hours,
        "core_hours": core_hours,
        "gpu_hours": gpu_hours,
        "storage_bytes": round(num_bytes),
        "temporary_bytes": num_records * LISTED_BYTES,
        "compute_cost": node_hours * hardware.node_hour_cost,
        "storage_cost_per_month": num_bytes / 1e9 * hardware.gb_month_cost,
        "slowest_stage": max(measured.stages, key=lambda name: measured.stages[name]),
        "stage_s_per_record": measured.stages,
        "measured": {"records": measured.num_records, "cores": measured.cores, "records_per_s": measured.records_per_s},
    }


def as_text(facts: dict[str, Any]) -> str:
    """`plan`'s figures for reading."""
    stages = ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in facts["stage_s_per_record"].items())
    small = facts["measured"]
    lines = [
        f"records   {facts['records']:,}, of which about {facts['records_kept']:,} will be kept",
        f"nodes     {facts['nodes']} for {facts['wall_hours']:.1f} h: {facts['node_hours']:,.1f} node hours",
        f"work      {facts['core_hours']:,.1f} core hours, {facts['gpu_hours']:,.1f} GPU hours",
        f"storage   {facts['storage_bytes'] / 1e9:,.1f} GB",
        f"temporary {facts['temporary_bytes'] / 1e9:,.2f} GB on disk where the job runs, which lists all records there",
        f"cost      {facts['compute_cost']:,.2f} for computing, {facts['storage_cost_per_month']:,.2f} per month for storage",
        f"slowest   {facts['slowest_stage']}; per record: {stages}",
        f"from      {small['records']} records, measured at {small['records_per_s']:.1f} per second on {small['cores']} cores",
    ]
    return "\n".join(lines)


def count_of(text: str, key: str = "records") -> int:
    """`"100M"`, `"5k"`, `"1.5b"` or a plain number. Raises `BadInput`."""
    match = _COUNT.match(text.strip())
    if not match or not (number := round(float(match[1]) * _UNITS[match[2].lower()])):
        raise BadInput(key, text, "is not a number of records", "for example 250000, 250k or 100M")
    return number


def _gpus(execution: dict[str, Any], stage: str) -> float:
    """How much of a GPU each actor of a stage held."""
    if stage == "encode":
        return float(execution.get("gpus_per_encoder", 0))
    return float(execution.get("models", {}).get(stage, {}).get("gpus", 0))
