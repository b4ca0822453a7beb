"""The build as a Ray Data stream: rows → pixel stages as tasks → encoders as an actor pool → shards.

One row of the stream is one shard, so Ray Data can retry, reorder and move work as it likes without a shard ever being
split, lost or doubled: writing is a rename, and doing it twice gives the same bytes.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bfs_model.errors import BadInput
from bfs_platform.cluster.environment import joins_cluster
from bfs_platform.console.screen import say
from bfs_platform.data.execute.draft import Draft
from bfs_platform.data.execute.finish import workspace_of
from bfs_platform.data.execute.transit import pack_prepared, unpack_prepared
from bfs_platform.data.execute.work import apply_model, compose_prepared, compose_unit, finish_unit, prepare_unit
from bfs_platform.data.model.base import named, open_model
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.plan.unit_file import read_unit, write_units
from bfs_platform.data.shard.file import from_ipc, to_ipc
from bfs_platform.data.spec import DataSpec, PoolSpec
from bfs_platform.data.stage.compose import Composer
from bfs_platform.storage.path import Location

# Rows of work per block of input: blocks are what Ray Data schedules, and thousands of units need not be as many blocks.
MAX_BLOCKS = 1024
ENCODER = "encode"
Batch = dict[str, np.ndarray]


def run_stream(units: Sequence[Unit], spec: DataSpec, root: Location, output: Location, base: str | None) -> Iterator[Receipt]:
    """Build `units` and yield the receipt of each as it is committed. Needs a connected Ray.

    Raises: `BadInput` when no node has the GPUs of one actor, and none will come.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, ExecutionResources, TaskPoolStrategy

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own progress line says what matters
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    allowed = None if spec.execution.store_mib is None else spec.execution.store_mib * 2**20
    context.execution_options.resource_limits = ExecutionResources.for_limits(object_store_memory=allowed)
    check_gpus(spec, base is not None, [node["Resources"] for node in ray.nodes() if node["Alive"]], grows=joins_cluster())
    resources = ray.cluster_resources()
    cpus = resources.get("CPU", 1)
    # An actor holds its CPU as long as the build lasts: on a small cluster leave some for the tasks that feed it.
    share = 1.0 if cpus >= 2 else cpus / 4
    # A stated number of tasks also keeps Ray Data from fusing them into the encoders.
    tasks = TaskPoolStrategy(size=min(spec.execution.cpu_workers or max(1, int(cpus)), len(units)))
    path, places = write_units(units, workspace_of(output).root)
    per_block = -(-len(units) // MAX_BLOCKS)
    dataset: ray.data.Dataset = ray.data.from_arrow([places[i : i + per_block] for i in range(0, len(units), per_block)])
    sizes = sizes_of_pools(spec, base is not None, resources, len(units))
    if named(spec):
        dataset = _with_models(dataset, spec, root, path, tasks, sizes, share)
    else:
        dataset = dataset.map_batches(ComposeStage(spec, root, path), batch_size=1, compute=tasks, num_cpus=share)
    if base is None:
        dataset = dataset.map_batches(WriteStage(output), batch_size=1, compute=tasks, num_cpus=share)
    else:
        first, most = sizes[ENCODER]
        pool = ActorPoolStrategy(min_size=first, max_size=most)
        encode: dict[str, Any] = {"fn_constructor_args": (spec, base), "batch_size": 1, "compute": pool, "num_cpus": share}
        dataset = dataset.map_batches(EncodeStage, num_gpus=spec.execution.gpus_per_encoder or None, **encode)
        dataset = dataset.map_batches(WriteStage(output), batch_size=1, num_cpus=share / 4)
    for row in dataset.iter_rows():
        yield Receipt.from_json(row["receipt"])


def _with_models(
    dataset: Any, spec: DataSpec, root: Location, path: Location, tasks: Any, sizes: dict[str, tuple[int, int]], share: float
) -> Any:
    """The pixel stages with one pool of actors per model between their two halves."""
    from ray.data import ActorPoolStrategy

    dataset = dataset.map_batches(PrepareStage(spec, root, path), batch_size=1, compute=tasks, num_cpus=share)
    for name in named(spec):
        pool, (first, most) = getattr(spec.execution.models, name), sizes[name]
        actors = ActorPoolStrategy(min_size=first, max_size=most)
        # An actor of a model waits for its GPU most of the time: several may share one CPU.
        settings: dict[str, Any] = {"fn_constructor_args": (name, spec), "batch_size": 1, "compute": actors, "num_cpus": share / 4}
        dataset = dataset.map_batches(ModelStage, num_gpus=pool.gpus or None, **settings)
    return dataset.map_batches(ComposePrepared(spec), batch_size=1, compute=tasks, num_cpus=share)


def check_gpus(spec: DataSpec, encodes: bool, nodes: Sequence[Mapping[str, float]], grows: bool) -> None:
    """Raise `BadInput` when none of `nodes`, the resources of each, has the GPUs of one actor: Ray Data would wait for one for ever.

    A cluster that `grows`, one that this process did not start, may have an autoscaler: there it says that it waits.
    """
    most = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    for name, pool in _pools(spec, encodes).items():
        if pool.gpus <= most:
            continue
        if grows:
            say(f"No node of the cluster has {pool.gpus:g} GPUs for {name}: waiting for one to come.")
            continue
        key = "execution.gpus_per_encoder" if name == ENCODER else f"execution.models.{name}.gpus"
        raise BadInput(key, f"{pool.gpus:g}", f"is more than a node of this cluster has ({most:g} GPUs)", f"set {key}=0, or add a GPU")


def _pools(spec: DataSpec, encodes: bool) -> dict[str, PoolSpec]:
    """The pools of a build by the names of their models, and `ENCODER`."""
    pools: dict[str, PoolSpec] = {name: getattr(spec.execution.models, name) for name in named(spec)}
    if encodes:
        pools[ENCODER] = PoolSpec(workers=spec.execution.encoders, gpus=spec.execution.gpus_per_encoder)
    return pools


def sizes_of_pools(spec: DataSpec, encodes: bool, resources: dict[str, float], num_units: int) -> dict[str, tuple[int, int]]:
    """With how many actors each pool starts, and how many it may have: by the names of the models, and `ENCODER`.

    Pools on GPUs whose numbers the recipe leaves open start alike, each with as many actors as the GPUs hold the shares of all pools
    together. By equal parts of the GPUs the largest model, which is seldom the quickest, would have the fewest.
    """
    pools = _pools(spec, encodes)
    together = sum(pool.gpus for pool in pools.values())
    sizes = {}
    for name, pool in pools.items():
        most = pool.workers or most_encoders(resources, pool.gpus)
        sizes[name] = pool_sizes(most, len(pools), num_units if name == ENCODER else None)
        if pool.workers is None and pool.gpus:
            most = min(most, num_units)
            sizes[name] = min(most, most_encoders(resources, together)), most
    return sizes


def most_encoders(resources: dict[str, float], gpus_per_encoder: float) -> int:
    """As many as the GPUs hold, each of them whole shares; without GPUs half of the CPUs, because the pixel stages need the other half."""
    if gpus_per_encoder > 0:
        gpus, exact = resources.get("GPU", 0), 1e-9  # shares such as 0.1 add up to 1 only nearly
        return max(1, int(gpus) * int(1 / gpus_per_encoder + exact) if gpus_per_encoder < 1 else int(gpus / gpus_per_encoder + exact))
    return max(1, int(resources.get("CPU", 1) / 2))


def pool_sizes(wanted: int, num_pools: int, num_units: int | None = None) -> tuple[int, int]:
    """With how many actors a pool starts, and how many it may have.

    It starts with its part of what the cluster holds, because Ray Data does not enlarge a pool whose tasks compete for the same
    cores: a single encoder then sets the pace while others could work. It gets no more than a part, because pools that are
    first served could leave none for the next.
    """
    most = wanted if num_units is None else min(wanted, num_units)
    return max(1, most // num_pools), most


class ComposeStage:
    """`compose_unit` on a batch of one. A plain callable, so it runs as tasks; the providers are built once per process."""

    def __init__(self, spec: DataSpec, root: Location, units: Location) -> None:
        self.spec, self.root, self.units = spec, root, units

    def __call__(self, batch: Batch) -> Batch:
        return _pack(compose_unit(_unit(self.units, batch), self.root, Composer(self.spec)))


class PrepareStage:
    """`prepare_unit` on a batch of one."""

    def __init__(self, spec: DataSpec, root: Location, units: Location) -> None:
        self.spec, self.root, self.units = spec, root, units

    def __call__(self, batch: Batch) -> Batch:
        return pack_prepared(prepare_unit(_unit(self.units, batch), self.root, Composer(self.spec)))


class ModelStage:
    """`apply_model` on a batch of one: an actor, so the weights are loaded once."""

    def __init__(self, name: str, spec: DataSpec) -> None:
        self.model = open_model(name, spec)

    def __call__(self, batch: Batch) -> Batch:
        return pack_prepared(apply_model(unpack_prepared(batch), self.model))


class ComposePrepared:
    """`compose_prepared` on a batch of one."""

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec

    def __call__(self, batch: Batch) -> Batch:
        return _pack(compose_prepared(unpack_prepared(batch), Composer(self.spec)))


class EncodeStage:
    """`Encoder` on a batch of one: an actor, so the weights are loaded once."""

    def __init__(self, spec: DataSpec, base: str) -> None:
        from bfs_platform.data.execute.encode import Encoder

        self.encoder = Encoder(spec.encode, base)

    def __call__(self, batch: Batch) -> Batch:
        return _pack(self.encoder(_unpack(batch)))


class WriteStage:
    """`finish_unit` on a batch of one."""

    def __init__(self, output: Location) -> None:
        self.output = output

    def __call__(self, batch: Batch) -> Batch:
        receipt = finish_unit(_unpack(batch), workspace_of(self.output))
        return {"receipt": np.array([receipt.to_json()])}


def _unit(path: Location, batch: Batch) -> Unit:
    return read_unit(path, int(batch["offset"][0]), int(batch["length"][0]))


def _pack(draft: Draft) -> dict[str, Any]:
    return {"table": [to_ipc(draft.table)], "receipt": [draft.receipt.to_json()]}


def _unpack(batch: Batch) -> Draft:
    return Draft(from_ipc(batch["table"][0]), Receipt.from_json(str(batch["receipt"][0])))
