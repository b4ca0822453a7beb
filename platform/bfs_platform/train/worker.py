"""What runs on every rank: build the task, wrap it, resume, train, write the result."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.train.spec import TrainSpec


def run_ranked(config: dict[str, Any]) -> dict[str, str | None]:
    """As `run_worker`, for Ray Train: `{"manifest": path}`, or `{"stopped": reason}` when running again would not help.

    What a step draws is a function of its number, so a loss that is not finite is so again after every restart.
    """
    from bfs_platform.train.loop import NonFinite

    try:
        return {"manifest": run_worker(config)}
    except NonFinite as error:
        return {"stopped": str(error)}


def run_worker(config: dict[str, Any]) -> str | None:
    """Train on this rank; rank 0 returns the path of the manifest it wrote.

    `config` is plain data: `spec`, `recipe`, `base`, `datasets` (directories, or prefixes of object stores, by name), `output`,
    `facts`, `tracking`; `home` is where copies of sets are kept on machines that have no `BFS_HOME`.
    Raises: `BadInput` when memory or disk do not suffice; `NonFinite` when the loss or the gradient is not finite.
    """
    import torch
    import torch.distributed as dist

    from bfs_platform.train import checkpoints, engine, faults, identity, loop, state
    from bfs_platform.train.reporting import Reporter

    spec = TrainSpec.model_validate(config["spec"])
    output = Path(config["output"])
    rank, world_size = dist.get_rank(), dist.get_world_size()
    os.umask(0o077)
    torch.set_num_threads(spec.threads_per_worker)
    torch.use_deterministic_algorithms(True, warn_only=spec.use_gpu)
    # With them torch fills all new memory, for programs that read it before they write it: a tenth of a small model's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    with faults.explained(spec, world_size):
        task = build_task(spec, config["base"], config["datasets"], config.get("home"))
        wrapped = engine.wrap(task.module, spec, world_size)
        facts: dict[str, Any] = {
            "identity": identity.identity_of(spec),
            "world_size": world_size,
            "inputs": identity.inputs_of(config["facts"]),
        }
        found = checkpoints.newest(output, partial(identity.misfit, spec, world_size, facts["inputs"])) if rank == 0 else None
        found = _agree(found)
        start = 0 if found is None else engine.load(wrapped, found)
        if start > spec.num_steps:
            rule = f"is less than the {start} steps that {output} has behind it"
            raise BadInput("num_steps", spec.num_steps, rule, "choose another directory, or ask for more steps")
        run = _attach(config["tracking"]) if rank == 0 else None
        if rank == 0:
            trim_losses(output / "losses.jsonl", start)
        reporter = Reporter(output if rank == 0 else None, spec.num_steps, run, config["recipe"])
        place = loop.Place(rank, world_size, torch.device(wrapped.device))
        loop.train(task, wrapped, spec, output, facts, start, place, reporter)
        weights = state.masters(wrapped)
        manifest = str(task.export(weights, output, judged(task, weights, config, reporter))) if rank == 0 else None
    if run is not None:
        run.flush()
    engine.barrier()
    return manifest


def judged(task: Any, weights: dict[str, Any], config: dict[str, Any], reporter: Any) -> dict[str, Any]:
    """The facts of the run and, of a network that has gates, what it showed on held-out records. Rank 0 calls it."""
    from bfs_platform.train.gates import Gated, reports_of

    if not isinstance(task, Gated):
        return dict(config["facts"])
    report = task.measure(weights)
    reporter.gates(report)
    return {**config["facts"], "gates": {**reports_of(config["base"]), config["spec"]["network"]["kind"]: report.to_json()}}


def build_task(spec: TrainSpec, base: str, datasets: dict[str, str], home: str | None = None) -> Any:
    """The task of `spec.network` over opened, verified data sets; those of object stores are copied to this machine once."""
    from bfs_platform.data.fetch import open_near
    from bfs_platform.train.networks.autoencoders import RgbVaeTask
    from bfs_platform.train.networks.backbone import BackboneTask
    from bfs_platform.train.networks.compositor import CompositorTask
    from bfs_platform.train.networks.recogniser import RecogniserTask
    from bfs_platform.train.networks.reference import ReferenceTask
    from bfs_platform.train.networks.rgba_vae import RgbaVaeTask
    from bfs_platform.train.networks.shadow import ShadowTask
    from bfs_platform.train.networks.sharing import SharingTask

    tasks: dict[str, Any] = {
        "sharing": SharingTask,
        "rgb_vae": RgbVaeTask,
        "rgba_vae": RgbaVaeTask,
        "backbone": BackboneTask,
        "compositor": CompositorTask,
        "shadow": ShadowTask,
        "recogniser": RecogniserTask,
        "reference": ReferenceTask,
    }
    opened = {name: open_near(place, home) for name, place in datasets.items()}
    return tasks[spec.network.kind](spec, spec.network, base, opened)


def trim_losses(path: Path, start: int) -> None:
    """Drop the lines of steps that will be run again, and one that a dying process has torn."""
    if path.exists():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= start]
        write_whole(path, "".join(line + "\n" for line in kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _agree(path: Path | None) -> Path | None:
    """Rank 0's choice, on every rank."""
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return path
    chosen = [None if path is None else str(path)]
    dist.broadcast_object_list(chosen, src=0)
    return None if chosen[0] is None else Path(chosen[0])


def _attach(tracking: dict[str, str] | None) -> Any:
    if tracking is None:
        return None
    from bfs_platform.tracking.run import Run

    return Run.attach(tracking["run_id"], tracking["uri"])
