"""What runs on every rank: build the task, wrap it, resume, train, write the result."""

import json
import os
from pathlib import Path
from typing import Any

from bfs_platform.train.spec import TrainSpec

# Settings that may change between the start of a run and its continuation: they do not touch the weights.
_FREE = ("num_steps", "max_failures", "log_every_steps", "sample_every_steps", "threads_per_worker", "checkpoint")


def run_worker(config: dict[str, Any]) -> str | None:
    """Train on this rank; rank 0 returns the path of the manifest it wrote.

    `config` is plain data: `spec`, `recipe`, `base`, `datasets` (directories by name), `output`, `facts`, `tracking`.
    """
    import torch
    import torch.distributed as dist

    from bfs_platform.train import checkpoints, engine, loop
    from bfs_platform.train.reporting import Reporter

    spec = TrainSpec.model_validate(config["spec"])
    output = Path(config["output"])
    rank = dist.get_rank()
    os.umask(0o077)
    torch.set_num_threads(spec.threads_per_worker)
    torch.use_deterministic_algorithms(True, warn_only=spec.use_gpu)

    task = build_task(spec, config["base"], config["datasets"])
    wrapped = engine.wrap(task.module, spec)
    identity = {"identity": identity_of(spec), "world_size": spec.world_size}
    start = 0
    found = checkpoints.newest(output, identity) if rank == 0 else None
    found = _agree(found)
    if found is not None:
        start = engine.load(wrapped, found)
    run = _attach(config["tracking"]) if rank == 0 else None
    if rank == 0:
        trim_losses(output / "losses.jsonl", start)
    reporter = Reporter(output if rank == 0 else None, spec.num_steps, run, config["recipe"])
    loop.train(task, wrapped, spec, output, identity, start, rank, reporter)
    weights = engine.weights(wrapped)
    manifest = str(task.export(weights, output, config["facts"])) if rank == 0 else None
    if run is not None:
        run.flush()
    engine.barrier()
    return manifest


def build_task(spec: TrainSpec, base: str, dataset_dirs: dict[str, str]) -> Any:
    """The task of `spec.network` over opened, verified data sets."""
    from bfs_platform.data.shards import open_dataset
    from bfs_platform.train.networks.autoencoders import RgbaVaeTask, RgbVaeTask
    from bfs_platform.train.networks.backbone import BackboneTask
    from bfs_platform.train.networks.compositor import CompositorTask
    from bfs_platform.train.networks.sharing import SharingTask

    tasks: dict[str, Any] = {
        "sharing": SharingTask,
        "rgb_vae": RgbVaeTask,
        "rgba_vae": RgbaVaeTask,
        "backbone": BackboneTask,
        "compositor": CompositorTask,
    }
    datasets = {name: open_dataset(Path(directory)) for name, directory in dataset_dirs.items()}
    return tasks[spec.network.kind](spec, spec.network, base, datasets)


def identity_of(spec: TrainSpec) -> dict[str, Any]:
    """The part of a specification that a continued run must repeat."""
    return {key: value for key, value in spec.model_dump(mode="json").items() if key not in _FREE}


def trim_losses(path: Path, start: int) -> None:
    """Drop the lines of steps that will be run again."""
    if path.exists():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= start]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


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
