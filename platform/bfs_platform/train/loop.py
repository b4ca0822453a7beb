"""The loop: the same for every network."""

import errno
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_platform.train import checkpoints, engine, order, state
from bfs_platform.train.meter import Meter
from bfs_platform.train.reporting import Reporter
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.task import Task

log = logging.getLogger(__name__)


class NonFinite(RuntimeError):
    """The loss or the gradient is NaN or infinite. Raised on all ranks together; no checkpoint of it is ever written."""


@dataclass(frozen=True)
class Place:
    """Where this process stands in the group: its rank, the number of ranks, and the device of its batches."""

    rank: int
    world_size: int
    device: torch.device


def train(
    task: Task, wrapped: Any, spec: TrainSpec, output: Path, facts: dict[str, Any], start: int, place: Place, reporter: Reporter
) -> None:
    """Run steps `start` … `spec.num_steps` of this rank, with checkpoints, metrics and samples along the way."""
    positions = positions_before(task.data, start)
    meter = Meter(wrapped, task, spec, place.world_size)
    for step in range(start, spec.num_steps):
        rate = engine.learning_rate(spec.optimizer, step, spec.num_steps)
        engine.set_learning_rate(wrapped, rate)
        data = task.data(step)
        batch = order.indices(spec.seed, data, positions.get(data, 0), spec.batch_size, task.sizes[data])
        positions[data] = positions.get(data, 0) + 1

        terms: dict[str, float] = {}
        for rows, weight in (micros := order.share(batch, place.rank, place.world_size, spec.micro_batch_size)):
            with meter.waiting_for_data():
                ids, arguments = task.batch(data, rows, step)
                arguments = engine.place(arguments, place.device)
            with torch.autocast(place.device.type, torch.bfloat16, enabled=spec.autocast):
                loss, parts = wrapped(*arguments)
            stop_unless_finite(loss, ids, step)
            # DeepSpeed takes the mean over micro-batches and ranks; shares of a batch that does not divide evenly are not equal.
            wrapped.backward(loss * scale if (scale := weight * len(micros) * place.world_size) != 1 else loss)
            wrapped.step()
            _add(terms, {"loss": loss, **parts}, weight)

        done = step + 1
        last = done == spec.num_steps
        meter.step_done()
        norm = float(wrapped.get_global_grad_norm() or 0.0)
        stop_unless_usable(norm, step)
        if every(spec.log_every_steps, done) or last or step == start:
            values = {**engine.total(terms), "lr": rate, "grad_norm": norm}
            reporter.metrics(values | meter.values(), done, data)
        if every(spec.checkpoint.every_steps, done) or last:
            with meter.checkpointing():
                if not checkpoint(wrapped, spec, output, facts, done, place.rank):
                    meter.checkpoint_missed()
        if spec.sample_every_steps and (every(spec.sample_every_steps, done) or last):
            with meter.sampling():
                weights = state.masters(wrapped)
                if place.rank == 0:
                    reporter.images(task.samples(weights), done)


def positions_before(data: Callable[[int], str], start: int) -> dict[str, int]:
    """How many batches of each data set the steps before `start` have used."""
    positions: dict[str, int] = {}
    for step in range(start):
        positions[data(step)] = positions.get(data(step), 0) + 1
    return positions


def stop_unless_finite(loss: Tensor, ids: Sequence[str], step: int) -> None:
    """Stop all ranks together before the update when the loss of any rank is NaN or infinite; each names all offending samples."""
    finite = bool(torch.isfinite(loss.detach()).all())
    if not engine.all_true(finite):
        samples = [i for rank in engine.gathered([] if finite else list(ids)) for i in rank]
        where = f"The loss of samples {', '.join(samples)} at step {step}"
        raise NonFinite(f"{where} is not finite; the weights are those of the last good step.")


def stop_unless_usable(norm: float, step: int) -> None:
    """Stop after an update whose gradient was NaN or infinite. All ranks know the same norm."""
    if not math.isfinite(norm):
        raise NonFinite(f"The gradient at step {step} is not finite; the newest checkpoint is from before it.")


def every(steps: int, done: int) -> bool:
    """Whether periodic work is due after `done` steps."""
    return done % steps == 0


def checkpoint(wrapped: Any, spec: TrainSpec, output: Path, facts: dict[str, Any], done: int, rank: int) -> bool:
    """Write and commit a checkpoint on all ranks together; returns whether it was written.

    A full disk in mid-run is said and survived: the checkpoint before stays, and the next one is tried again.
    Raises: `BadInput` when the last checkpoint of a run cannot be written.
    """
    staging = checkpoints.staging_of(output, done)
    problem = ""
    try:
        if rank == 0:
            checkpoints.clear(staging)
    except OSError as error:
        problem = _reason(error)
    if engine.all_true(not problem):
        problem = _attempt(lambda: state.save(wrapped, staging, done))
        if engine.all_true(not problem) and rank == 0:
            problem = _attempt(lambda: checkpoints.commit(output, done, facts, spec.checkpoint.keep))
    if engine.all_true(not problem):
        return True
    if rank == 0:
        checkpoints.discard(staging)
    problem = problem or "another rank could not write its share"
    if done == spec.num_steps:
        raise BadInput("output", output, f"cannot hold the last checkpoint ({problem})", "free some space and repeat the command")
    log.warning("No checkpoint after step %d: %s. Training goes on; the one before it is still good.", done, problem)
    return False


def _attempt(write: Callable[[], object]) -> str:
    """Run `write`; what went wrong with the disk, or an empty string."""
    try:
        write()
    except OSError as error:
        return _reason(error)
    except Exception as error:  # safetensors wraps the errors of the operating system in its own
        if type(error).__name__ != "SafetensorError":
            raise
        return str(error)
    return ""


def _reason(error: OSError) -> str:
    return "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror or error}"


def _add(terms: dict[str, float], values: dict[str, Tensor], weight: float) -> None:
    for name, value in values.items():
        terms[name] = terms.get(name, 0.0) + weight * float(value.detach())
