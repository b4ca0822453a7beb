"""What runs on every rank: build the task, wrap it, resume, train, write the result."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.console.screen import in_worker, say
from bfs_platform.train.spec import TrainSpec


def run_ranked(config: dict[str, Any]) -> dict[str, str | None]:
    """As `run_worker`, for Ray Train: `{"manifest": path}`, or `{"stopped": reason}` when running again would not help.

    What a step draws is a function of its number, so a loss that is not finite is so again after every restart.
    """
    from bfs_platform.train.loop import Stopped

    in_worker()
    try:
        return {"manifest": run_worker(config)}
    except Stopped as error:
        return {"stopped": str(error)}


def leave_gpus() -> None:
    """Work on CPUs: Ray shows those who asked for no GPU all of the node's, which it may have lent to others. Before CUDA is used."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}


def run_worker(config: dict[str, Any]) -> str | None:
    """Train on this rank; rank 0 returns the path of the manifest it wrote.

    `config` is plain data: `spec`, `recipe`, `base`, `datasets` (directories, or prefixes of object stores, by name), `output`,
    `facts`, `tracking`; `home` is where copies of sets are kept on machines that have no `BFS_HOME`.
    Raises: `BadInput` when memory or disk do not suffice; `loop.Stopped` when the loss is not finite or diverges.
    """
    import torch
    import torch.distributed as dist

    from bfs_platform.train import loop
    from bfs_platform.train.launch import faults
    from bfs_platform.train.report.best import Best
    from bfs_platform.train.report.reporting import LOSSES, SKIPPED, VALIDATION, Reporter
    from bfs_platform.train.state import checkpoints, ema, engine, identity, state

    spec = TrainSpec.model_validate(config["spec"])
    if not spec.use_gpu:
        leave_gpus()
    output = Path(config["output"])
    rank, world_size = dist.get_rank(), dist.get_world_size()
    os.umask(0o077)
    torch.set_num_threads(spec.threads_per_worker)
    torch.use_deterministic_algorithms(True, warn_only=spec.use_gpu)
    # With them torch fills all new memory, for programs that read it before they write it: a tenth of a small model's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    with faults.explained(spec, world_size):
        task = build_task(spec, config["base"], config["datasets"], config.get("home"))
        wrapped = engine.wrap(task.module, spec, world_size, fastest_attention(task, spec, output, rank))
        facts: dict[str, Any] = {
            "identity": identity.identity_of(spec),
            "world_size": world_size,
            "inputs": identity.inputs_of(config["facts"]) | identity.weights_of(spec),
        }
        found = checkpoints.newest(output, partial(identity.mismatch, spec, world_size, facts["inputs"])) if rank == 0 else None
        found = _agree(found)  # a path
        if found is None and spec.ema.half_life_samples:
            ema.begin(wrapped)
        start = 0 if found is None else engine.load(wrapped, found)
        if start > spec.num_steps:
            rule = f"is less than the {start} steps that {output} has behind it"
            raise BadInput("num_steps", spec.num_steps, rule, "choose another directory, or ask for more steps")
        run = _attach(config["tracking"]) if rank == 0 else None
        if rank == 0:
            for name in (LOSSES, VALIDATION, SKIPPED):
                trim_losses(output / name, start)
        reporter = Reporter(output if rank == 0 else None, spec.num_steps, run, config["recipe"])
        place = loop.Place(rank, world_size, torch.device(wrapped.device))
        best = Best(spec.best, output) if rank == 0 else None
        done = loop.train(task, wrapped, spec, output, facts, start, place, reporter, best)
        weights = state.weights(wrapped)
        manifest = str(finished(task, weights, config, reporter, best, done)) if best is not None else None
    if run is not None:
        run.flush()
    engine.barrier()
    return manifest


def finished(task: Any, weights: dict[str, Any], config: dict[str, Any], reporter: Any, best: Any, done: int) -> Path:
    """Measure the last weights, those after `done` steps, take the best ones where the run says by which loss, and write them. Rank 0
    calls it.

    Returns: the path of the manifest.
    """
    facts = judged(task, weights, config, reporter, best, done)
    chosen, step = best.chosen(weights)
    if step is not None:
        # Pictures, gates and figures are those of what is written.
        facts = judged(task, chosen, config, reporter, None)
        facts["training"] = {**facts["training"], "best": {"metric": best.spec.metric, "step": step}}
    return Path(task.export(chosen, Path(config["output"]), facts))


def judged(task: Any, weights: dict[str, Any], config: dict[str, Any], reporter: Any, best: Any, done: int = 0) -> dict[str, Any]:
    """The facts of the run, and what the network showed on held-out records: its losses there, or the figures of its gates.

    `best` takes the losses as the last measurement of the run, after `done` steps, unless it has that one; None where they are
    measured once more, of other weights.
    """
    from bfs_platform.train.report.gates import Gated, reports_of
    from bfs_platform.train.report.validation import Validated

    facts = dict(config["facts"])
    if isinstance(task, Validated) and task.held_out is not None:
        losses = task.validate(weights)
        if best is not None and not best.knows(done):
            best.note(losses, weights, done)
            reporter.validation(losses, done)
        about = {"measured_on": task.held_out.name, "num_records": len(task.held_out.rows)}
        facts["training"] = {**facts["training"], "validation": {**about, "losses": {k: round(v, 6) for k, v in losses.items()}}}
    if isinstance(task, Gated):
        report = task.measure(weights)
        reporter.gates(report)
        facts["gates"] = {**reports_of(config["base"]), config["spec"]["network"]["kind"]: report.to_json()}
    return facts


def fastest_attention(task: Any, spec: TrainSpec, output: Path, rank: int) -> str:
    """The kernel that rank 0 finds to be the fastest for this task, on every rank; empty where none is to be measured."""
    import torch

    from bfs_platform.train.state import kernels

    shape = task.attention_shape() if spec.attention == "measured" and hasattr(task, "attention_shape") else None
    if shape is None:
        return ""
    table = None
    if rank == 0:
        table = kernels.chosen(output, shape, torch.device("cuda" if spec.use_gpu else "cpu"))
        say(kernels.as_text(table))
    return str(_agree(table)["kernel"])


def build_task(spec: TrainSpec, base: str, datasets: dict[str, str], home: str | None = None) -> Any:
    """The task of `spec.network` over opened, verified data sets; those of object stores are copied to this machine once."""
    from bfs_platform.data.shard.fetch import open_near
    from bfs_platform.train.network.autoencoders import RgbVaeTask
    from bfs_platform.train.network.backbone import BackboneTask
    from bfs_platform.train.network.compositor import CompositorTask
    from bfs_platform.train.network.recogniser import RecogniserTask
    from bfs_platform.train.network.reference import ReferenceTask
    from bfs_platform.train.network.rgba_vae import RgbaVaeTask
    from bfs_platform.train.network.shadow import ShadowTask
    from bfs_platform.train.network.sharing import SharingTask

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


def _agree(value: Any) -> Any:
    """Rank 0's choice, on every rank: something plain."""
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    chosen = [value]
    dist.broadcast_object_list(chosen, src=0)
    return chosen[0]


def _attach(tracking: dict[str, str] | None) -> Any:
    if tracking is None:
        return None
    from bfs_platform.tracking.run import Run

    return Run.attach(tracking["run_id"], tracking["uri"])
