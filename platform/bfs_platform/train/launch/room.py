"""Whether a cluster has room for the workers of a run: Ray Train asks for it again and again, for ever, and says nothing."""

from collections.abc import Mapping, Sequence

from bfs_model.errors import BadInput
from bfs_platform.console.screen import say
from bfs_platform.train.spec import TrainSpec


def check_room(spec: TrainSpec, nodes: Sequence[Mapping[str, float]], grows: bool) -> None:
    """Raise `BadInput` when `nodes`, the resources of each, have fewer GPUs (or CPUs, without `use_gpu`) than the workers that must be
    there to begin.

    A cluster that `grows`, one that this process did not start, may have an autoscaler: there it says that it waits.
    """
    key, least = ("min_workers", spec.min_workers) if spec.min_workers else ("num_workers", spec.num_workers)
    unit = "GPU" if spec.use_gpu else "CPU"
    held = sum(int(node.get(unit, 0)) for node in nodes)
    if held >= least:
        return
    if grows:
        say(f"The cluster has {held} of the {least} {unit}s that the workers of this run take: waiting for it to grow.")
        return
    remedy = f"set {key}={held}" if held else "add GPUs, or set use_gpu=false"
    raise BadInput(key, least, f"is more than this cluster has {unit}s ({held})", remedy)
