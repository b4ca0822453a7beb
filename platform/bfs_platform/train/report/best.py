"""The best weights of a run by a held-out loss, kept beside its checkpoints; and when to end because it has stopped falling."""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_platform.train.report.reporting import VALIDATION
from bfs_platform.train.spec import BestSpec

WEIGHTS = "best.safetensors"
log = logging.getLogger(__name__)


class Best:
    """What rank 0 knows of the measurements of a run. All of it follows from what lies in `output`: a continued run decides the same."""

    def __init__(self, spec: BestSpec, output: Path) -> None:
        self.spec, self.output = spec, output
        lines = (output / VALIDATION).read_text(encoding="utf-8").splitlines() if (output / VALIDATION).exists() else []
        found = [json.loads(line) for line in lines]
        self._steps = {int(line["step"]) for line in found}
        self._measured = [(int(line["step"]), self._of(line)) for line in found] if spec.metric else []

    def note(self, losses: dict[str, float], weights: dict[str, Tensor], step: int) -> None:
        """Remember a measurement, and its weights if there was none better. Raises `BadInput` when the metric is none of the losses."""
        self._steps.add(step)
        if not self.spec.metric:
            return
        value = self._of(losses)
        if value < self._least:
            partial = self.output / f".{WEIGHTS}"
            try:
                save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial, {"step": str(step)})
                os.replace(partial, self.output / WEIGHTS)
            except (
                OSError,
                SafetensorError,
            ) as error:  # no training ends for it: the best so far is kept, and what comes is held against it
                log.warning("The best weights so far, after %d steps, could not be written: %s", step, error)
                partial.unlink(missing_ok=True)
                return
        self._measured.append((step, value))

    def knows(self, step: int) -> bool:
        """Whether the losses after `step` steps were measured."""
        return step in self._steps

    def ends(self) -> bool:
        """Whether the last `patience` measurements were all no better than one before them."""
        if not self.spec.patience or len(self._measured) <= self.spec.patience:
            return False
        earlier, last = self._measured[: -self.spec.patience], self._measured[-self.spec.patience :]
        return min(value for _, value in last) >= min(value for _, value in earlier)

    def chosen(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], int | None]:
        """The weights that the run results in, and the step that they are of; `weights` themselves, and None, where those are the last."""
        if not self._measured:
            return weights, None
        step = min(self._measured, key=lambda measured: (measured[1], measured[0]))[0]
        path = self.output / WEIGHTS
        if step == self._measured[-1][0] or not path.exists():
            return weights, None
        with safe_open(path, "pt") as file:
            kept = int(file.metadata()["step"])
        return (load_file(path), step) if kept == step else (weights, None)

    @property
    def _least(self) -> float:
        return min((value for _, value in self._measured), default=math.inf)

    def _of(self, losses: dict[str, Any]) -> float:
        if self.spec.metric not in losses:
            known = ", ".join(name for name in losses if "/" not in name and name != "step")
            raise BadInput("best.metric", self.spec.metric, "is no held-out loss of this network", f"use one of {known}")
        return float(losses[self.spec.metric])
