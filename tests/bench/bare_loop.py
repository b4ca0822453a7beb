"""The bare loop: forward, backward, clipping and AdamW, and nothing else. What the project's loop is measured against."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from measuring import interleaved
from torch import Tensor, nn

from bfs_platform.train import meter, order, worker
from bfs_platform.train.spec import TrainSpec


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


def beside_a_bare_loop(config: dict[str, Any]) -> dict[str, float]:
    """Runs in a worker: the project's loop, then a bare one on the same model and batch; seconds of either by one clock.

    `config["clock"]` names it. By CPU time neighbours on the machine do not count, but the threads do that prepare batches and
    write checkpoints; wall time, on an idle machine, is what a user waits.
    """
    clock = {"CPU time": time.process_time, "wall time": time.perf_counter}[config.pop("clock")]
    vars(meter)["time"] = SimpleNamespace(perf_counter=clock)
    worker.run_worker(config)
    spec = TrainSpec.model_validate(config["spec"])
    task = worker.build_task(spec, config["base"], config["datasets"])
    data = task.data(0)
    _, arguments = task.batch(data, order.indices(spec.seed, data, 0, spec.batch_size, task.sizes[data]), 0)
    task.module.eval()
    step = plain_step(_Bound(task.module, arguments))
    return {"bare_s": interleaved({"bare": step}, rounds=spec.num_steps, clock=clock)["bare"]}


class _Bound(nn.Module):
    """A module with its arguments."""

    def __init__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.module, self.arguments = module, arguments

    def forward(self) -> Tensor:
        return self.module(*self.arguments)[0]
