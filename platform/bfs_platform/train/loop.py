"""The loop: the same for every network."""

import contextlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bfs_platform.train.report.best import Best
from bfs_platform.train.report.meter import Meter
from bfs_platform.train.report.reporting import Reporter
from bfs_platform.train.report.validation import Validated
from bfs_platform.train.sample.feed import Feed, Work, schedule
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import ema, engine, state
from bfs_platform.train.state.guard import WINDOW, Guard, guard_of
from bfs_platform.train.state.saving import Saver
from bfs_platform.train.task import Task


class Stopped(RuntimeError):
    """Going on, or starting again, would not help. Raised on all ranks together."""


class NonFinite(Stopped):
    """The loss or the gradient is NaN or infinite; no checkpoint of it is ever written."""


class Diverged(Stopped):
    """The guard leaves out every step: what it compares with is not what the run has become."""


@dataclass(frozen=True)
class Place:
    """Where this process stands in the group: its rank, the number of ranks, and the device of its batches."""

    rank: int
    world_size: int
    device: torch.device


def train(
    task: Task,
    wrapped: Any,
    spec: TrainSpec,
    output: Path,
    facts: dict[str, Any],
    start: int,
    place: Place,
    reporter: Reporter,
    best: Best | None = None,
) -> int:
    """Run steps `start` … `spec.num_steps` of this rank, with checkpoints, metrics and samples along the way.

    `best` is rank 0's; with it the run may end before. Returns how many steps are done.
    """
    if losses_missed(task, spec, start, best):
        inspect_weights(task, wrapped, place, reporter, start, pictures=False, losses=True, best=best)
    if ended(best):
        return start
    steps, ahead = itertools.tee(schedule(task, spec, start, place.rank, place.world_size))
    meter, guard, done = Meter(wrapped, task, spec, place.world_size), guard_of(wrapped), start
    with (
        Feed(task, ahead, place.device) as feed,
        contextlib.closing(Saver(wrapped, spec, output, facts, place.rank, place.world_size)) as saver,
    ):
        for work in steps:
            rate = engine.learning_rate(spec.optimizer, work.step, spec.num_steps)
            engine.set_learning_rate(wrapped, rate)
            terms, norm, ids = optimise(wrapped, work, feed, spec, place, meter)

            done = work.step + 1
            last = done == spec.num_steps
            meter.step_done()
            stop_unless_usable(norm, work.step)
            if guard is not None and (reason := guard.close()):
                reporter.skipped([i for rank in engine.gathered(ids) for i in rank], reason, done)
                stop_unless_some_are_taken(guard)
            if spec.ema.half_life_samples:
                ema.update(wrapped, ema.decay(spec.ema, done, spec.batch_size))
            if every(spec.log_every_steps, done) or last or work.step == start:
                values = {**engine.total(terms), "lr": rate, "grad_norm": norm}
                reporter.metrics(values | meter.values(), done, work.data)
            if every(spec.checkpoint.every_steps, done) or last:
                with meter.checkpointing():
                    meter.checkpoints_missed(saver.start(done))
            due = inspections_due(task, spec, done)
            if any(due):
                with meter.sampling():
                    feed.wait()
                    inspect_weights(task, wrapped, place, reporter, done, *due, best=best)
                if due[1] and ended(best):
                    if not every(spec.checkpoint.every_steps, done):
                        saver.start(done)
                    break
        saver.wait()
    return done


def inspections_due(task: Task, spec: TrainSpec, done: int) -> tuple[bool, bool]:
    """Whether pictures are due after `done` steps, and whether losses on held-out records are; at the end these come by themselves."""
    last = done == spec.num_steps
    pictures = bool(spec.sample_every_steps) and (every(spec.sample_every_steps, done) or last)
    held_out = isinstance(task, Validated) and task.held_out is not None
    return pictures, held_out and bool(spec.validate_every_steps) and every(spec.validate_every_steps, done) and not last


def losses_missed(task: Task, spec: TrainSpec, start: int, best: Best | None) -> bool:
    """Whether a run that goes on was killed between a checkpoint and the measurement that was due there. A collective call."""
    return start > 0 and inspections_due(task, spec, start)[1] and not engine.all_true(best is None or best.knows(start))


def ended(best: Best | None) -> bool:
    """Whether the run is to end here, by what rank 0 has measured. A collective call."""
    return not engine.all_true(best is None or not best.ends())


def inspect_weights(
    task: Task, wrapped: Any, place: Place, reporter: Reporter, done: int, pictures: bool, losses: bool, best: Best | None = None
) -> None:
    """Draw pictures and measure losses with what the run would result in now; then training goes on with its own weights."""
    weights = state.weights(wrapped)
    if place.rank > 0:
        return
    with state.lent(wrapped):
        if pictures:
            reporter.images(task.samples(weights), done)
        if losses and isinstance(task, Validated):
            measured = task.validate(weights)
            if best is not None:
                best.note(measured, weights, done)
            reporter.validation(measured, done)


def optimise(
    wrapped: Any, work: Work, feed: Feed, spec: TrainSpec, place: Place, meter: Meter
) -> tuple[dict[str, float], float, list[str]]:
    """One step: forward and backward of each micro-batch, and the update, unless a guard refuses it.

    Returns: this rank's share of the loss and its terms; the norm of the gradient of the whole batch; this rank's samples.
    """
    terms: dict[str, float] = {}
    samples: list[str] = []
    norm: float | None = None
    if (guard := guard_of(wrapped)) is not None:
        guard.open(lambda: (engine.global_norm(wrapped) if norm is None else norm, engine.total(terms)["loss"]))
    for _, weight in work.micros:
        with meter.waiting_for_data():
            ids, arguments = feed.next()
            samples += ids
        loss, parts = wrapped(*arguments)
        stop_unless_finite(loss, ids, work.step)
        # DeepSpeed takes the mean over micro-batches and ranks; shares of a batch that does not divide evenly are not equal.
        scale = weight * len(work.micros) * place.world_size
        wrapped.backward(loss * scale if scale != 1 else loss)
        norm = engine.unsharded_norm(wrapped)
        _add(terms, {"loss": loss, **parts}, weight)
        wrapped.step()
    return terms, float(wrapped.get_global_grad_norm() or 0.0) if norm is None else norm, samples


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


def stop_unless_some_are_taken(guard: Guard) -> None:
    """Stop a run of which nothing has been taken for as long as the guard looks back."""
    if guard.num_in_a_row >= WINDOW:
        rule = f"{WINDOW} steps in a row were left out (skipped.jsonl); the weights are those before them"
        raise Diverged(f"{rule}. Lower optimizer.lr, or raise guard.norm_factor and guard.loss_factor.")


def every(steps: int, done: int) -> bool:
    """Whether periodic work is due after `done` steps."""
    return done % steps == 0


def _add(terms: dict[str, float], values: dict[str, Tensor], weight: float) -> None:
    for name, value in values.items():
        terms[name] = terms.get(name, 0.0) + weight * float(value.detach())
