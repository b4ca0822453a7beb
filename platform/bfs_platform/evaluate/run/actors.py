"""How the work of an evaluation is spread over a Ray cluster: as many actors as its GPUs and CPUs hold, each with some records."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.cluster.environment import joins_cluster
from bfs_platform.console.screen import say
from bfs_platform.evaluate.spec import EvaluationSpec


def spread(stage: type, arguments: Sequence[Any], items: Sequence[Mapping[str, Any]], spec: EvaluationSpec, batch_size: int = 1) -> Any:
    """Rows that actors of `stage(*arguments)` make of `items`, as they come, in any order. Needs a connected Ray."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own progress line says what matters
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    size = num_actors(spec, len(items), nodes, grows=joins_cluster())
    # Several blocks per actor, so that none waits for a slow one; a block is also what is lost when an actor dies.
    dataset: Any = ray.data.from_items(list(items), override_num_blocks=min(len(items), 8 * size))
    settings: dict[str, Any] = {"num_gpus": spec.gpus_per_actor} if spec.gpus_per_actor else {}
    settings |= {"fn_constructor_args": tuple(arguments), "batch_size": batch_size, "num_cpus": 1}
    rows: Iterator[dict[str, Any]] = dataset.map_batches(stage, compute=ActorPoolStrategy(size=size), **settings).iter_rows()
    return rows


def num_actors(spec: EvaluationSpec, num_records: int, nodes: Sequence[Mapping[str, float]], grows: bool) -> int:
    """As many as the recipe says, and no more than there are records and than `nodes`, the resources of each, hold.

    A cluster that `grows`, one that this process did not start, may have an autoscaler, which brings GPUs for those that are asked for by
    number. Raises: `BadInput` where another has no node with the GPUs of one actor.
    """
    held = sum(_held(node, spec.gpus_per_actor) for node in nodes)
    if grows and spec.gpus_per_actor:
        wanted = spec.actors or max(1, held)
        if held < wanted:
            say(f"The cluster has GPUs for {held} of {wanted} models: waiting for it to grow.")
        return min(wanted, num_records)
    if not held and spec.gpus_per_actor:
        most = max((node.get("GPU", 0) for node in nodes), default=0)
        rule = f"is more than a node of this cluster has ({most:g} GPUs)"
        raise BadInput("gpus_per_actor", f"{spec.gpus_per_actor:g}", rule, "set gpus_per_actor=0 to draw on CPUs, or add a GPU")
    return max(1, min(spec.actors or held, num_records, held))


def _held(node: Mapping[str, float], gpus: float) -> int:
    """Actors of one CPU and `gpus` that a node holds: a share of a GPU is a share of one GPU."""
    cpus = int(node.get("CPU", 0))
    if not gpus:
        return cpus
    free = node.get("GPU", 0)
    return min(cpus, int(free) * int(1 / gpus + 1e-9) if gpus < 1 else int(free / gpus))
