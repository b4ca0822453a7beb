"""The loop: the same for every network."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bfs_platform.train import checkpoints, engine, order
from bfs_platform.train.reporting import Reporter
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.task import Task


class NonFiniteLoss(RuntimeError):
    """The loss is NaN or infinite. Raised on all ranks before the update, so the weights are still good."""


def train(
    task: Task, wrapped: Any, spec: TrainSpec, output: Path, facts: dict[str, Any], start: int, rank: int, reporter: Reporter
) -> None:
    """Run steps `start` … `spec.num_steps` of this rank, with checkpoints, metrics and samples along the way."""
    positions = positions_before(task.data, start)
    for step in range(start, spec.num_steps):
        began = time.perf_counter()
        rate = engine.learning_rate(spec.optimizer, step, spec.num_steps)
        engine.set_learning_rate(wrapped, rate)
        data = task.data(step)
        batch = order.indices(spec.seed, data, positions.get(data, 0), spec.batch_size, task.sizes[data])
        positions[data] = positions.get(data, 0) + 1

        terms: dict[str, float] = {}
        for rows in order.share(batch, rank, spec.world_size, spec.micro_batch_size):
            ids, arguments = task.batch(data, rows, step)
            loss, parts = wrapped(*arguments)
            stop_unless_finite(loss, ids, step)
            wrapped.backward(loss)
            wrapped.step()
            _add(terms, {"loss": loss, **parts}, 1 / spec.accumulation)

        done = step + 1
        last = done == spec.num_steps
        if every(spec.log_every_steps, done) or last or step == start:
            norm = float(wrapped.get_global_grad_norm() or 0.0)
            reporter.metrics({**terms, "lr": rate, "grad_norm": norm, "step_s": time.perf_counter() - began}, done, data)
        if every(spec.checkpoint.every_steps, done) or last:
            _checkpoint(wrapped, spec, output, facts, done, rank)
        if every(spec.sample_every_steps, done) or last:
            weights = engine.weights(wrapped)
            if rank == 0:
                reporter.images(task.samples(weights), done)


def positions_before(data: Callable[[int], str], start: int) -> dict[str, int]:
    """How many batches of each data set the steps before `start` have used."""
    positions: dict[str, int] = {}
    for step in range(start):
        positions[data(step)] = positions.get(data(step), 0) + 1
    return positions


def stop_unless_finite(loss: Tensor, ids: Any, step: int) -> None:
    """Stop all ranks together before the update when the loss of any rank is NaN or infinite."""
    finite = bool(torch.isfinite(loss.detach()).all())
    if not engine.all_true(finite):
        where = f" of samples {', '.join(ids)}" if not finite else " on another rank"
        raise NonFiniteLoss(f"The loss{where} at step {step} is not finite; the weights are those of the last good step.")


def every(steps: int, done: int) -> bool:
    """Whether periodic work is due after `done` steps."""
    return done % steps == 0


def _checkpoint(wrapped: Any, spec: TrainSpec, output: Path, facts: dict[str, Any], done: int, rank: int) -> None:
    staging = checkpoints.staging_of(output, done)
    if rank == 0:
        checkpoints.clear(staging)
    engine.barrier()
    engine.save(wrapped, staging, done)
    engine.barrier()
    if rank == 0:
        checkpoints.commit(output, done, facts, spec.checkpoint.keep)
    engine.barrier()


def _add(terms: dict[str, float], values: dict[str, Tensor], weight: float) -> None:
    for name, value in values.items():
        terms[name] = terms.get(name, 0.0) + weight * float(value.detach())
