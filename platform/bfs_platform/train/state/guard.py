"""Steps that are left out: those whose gradient or loss stands out from what the run has seen lately.

A single bad batch (a damaged record, a mask that is none) can cost a run more than it will ever learn from it. Clipping bounds how far
such a step goes; the guard does not take it at all, and says which records it was of. What it compares with is part of the checkpoint,
so a run that was killed leaves out the same steps as one that was not.
"""

import math
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bfs_platform.train.spec import GuardSpec

WINDOW = 64
LEAST = 16  # steps before anything is left out: the first gradients of a run are like no later ones


class Guard:
    """Judges one step at a time: `open`, then `refuses` as often as the optimizer asks, then `close`. The same on all ranks."""

    def __init__(self, spec: GuardSpec) -> None:
        self.spec = spec
        self.num_skipped = 0
        self.num_in_a_row = 0  # since the last step that was taken, or since this process began
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._seen: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        self._verdict: str | None = None

    def open(self, seen: Callable[[], tuple[float, float]]) -> None:
        """Begin a step; `seen` gives the norm of its gradient and its loss once both are known."""
        self._seen, self._verdict = seen, None

    def refuses(self) -> bool:
        """Whether this step is left out."""
        if self._verdict is None:
            self._verdict = self._judged(*self._seen())
        return bool(self._verdict)

    def close(self) -> str:
        """End the step. Why it was left out, or an empty string."""
        verdict, self._verdict = self._verdict or "", None
        return verdict

    def state(self) -> Tensor:
        """What a continued run must know: the number of steps left out, and what the next are compared with. float64."""
        return torch.tensor([float(self.num_skipped), float(len(self._norms)), *self._norms, *self._losses], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """The inverse of `state`."""
        skipped, count, *values = state.tolist()
        self.num_skipped = int(skipped)
        self._norms, self._losses = (deque(part, maxlen=WINDOW) for part in (values[: int(count)], values[int(count) :]))

    def _judged(self, norm: float, loss: float) -> str:
        reasons = []
        for name, value, history, factor in (
            ("gradient norm", norm, self._norms, self.spec.norm_factor),
            ("loss", loss, self._losses, self.spec.loss_factor),
        ):
            usual = median(history) if len(history) >= LEAST else math.inf
            if factor and math.isfinite(value) and value > factor * usual:
                reasons.append(f"{name} {value:.4g} is {value / usual:.1f} times the usual {usual:.4g}")
        self.num_in_a_row = self.num_in_a_row + 1 if reasons else 0
        if reasons:
            self.num_skipped += 1
        elif math.isfinite(norm) and math.isfinite(loss):  # what is not finite stops the run
            self._norms.append(norm)
            self._losses.append(loss)
        return ", ".join(reasons)


def guarded(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """An optimizer whose updates a guard, given as `guard`, may refuse: parameters and state then stay as they are, whoever shards them."""

    class Guarded(kind):  # type: ignore[misc, valid-type]
        def __init__(self, parameters: Any, guard: Guard, **settings: Any) -> None:
            super().__init__(parameters, **settings)
            self.guard = guard

        def step(self, closure: Any = None) -> Any:
            """One update, or none."""
            return None if self.guard.refuses() else super().step(closure)

    return Guarded


def guard_of(engine: Any) -> Guard | None:
    """The guard of an engine's optimizer, if it has one."""
    return getattr(getattr(engine.optimizer, "optimizer", engine.optimizer), "guard", None)
