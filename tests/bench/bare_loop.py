"""The bare loop: forward, backward, clipping and AdamW, and nothing else. What the project's loop is measured against."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from bfs_platform.train.launch import worker
from bfs_platform.train.report import meter
from bfs_platform.train.sample import order
from bfs_platform.train.spec import OptimizerSpec, TrainSpec
from bfs_platform.train.state import engine


def plain_step(module: nn.Module) -> Callable[[], None]:
    """One step of a module that returns its loss, on exactly its trainable parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6)

    def step() -> None:
        module().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def beside_a_bare_loop(config: dict[str, Any]) -> dict[str, list[float]]:
    """Runs in a worker: a bare step before each step of the project's loop, on the same model; seconds of every step of both.

    `config["clock"]` names what is read. By CPU time neighbours on the machine do not count, but the threads do that prepare
    batches and write checkpoints; wall time, on an idle machine, is what a user waits. A step of the loop is all that happens from
    its learning rate to the next one's, metrics included.
    """
    clock = {"CPU time": time.process_time, "wall time": time.perf_counter}[config.pop("clock")]
    vars(meter)["time"] = SimpleNamespace(perf_counter=clock)
    bare, rate_of = _bare(config), engine.learning_rate
    seconds: dict[str, list[float]] = {"bare": [], "loop": []}
    began: list[float] = []

    def learning_rate(spec: OptimizerSpec, step: int, num_steps: int) -> float:
        seconds["loop"] += [clock() - start for start in began]
        start = clock()
        bare()
        seconds["bare"].append(clock() - start)
        began[:] = [clock()]
        return rate_of(spec, step, num_steps)

    vars(engine)["learning_rate"] = learning_rate
    worker.run_worker(config)
    return {name: values[1:] for name, values in seconds.items()}


def _bare(config: dict[str, Any]) -> Callable[[], None]:
    """The bare step on a model of its own and the first batch."""
    spec = TrainSpec.model_validate(config["spec"])
    torch.set_num_threads(spec.threads_per_worker)
    task = worker.build_task(spec, config["base"], config["datasets"])
    data = task.data(0)
    _, arguments = task.batch(data, order.indices(spec.seed, data, 0, spec.batch_size, task.groups[data]), 0)
    return plain_step(_Bound(task.module, arguments))


class _Bound(nn.Module):
    """A module with its arguments."""

    def __init__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.module, self.arguments = module, arguments

    def forward(self) -> Tensor:
        return self.module(*self.arguments)[0]
