"""Where a training run tells how it goes: the log, MLflow, and a text file of losses beside the result."""

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfs_platform.console.screen import say
from bfs_platform.train.report.gauges import gauges_of
from bfs_platform.train.report.meter import system_values

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.tracking.run import Run
    from bfs_platform.train.report.gates import GateReport


log = logging.getLogger(__name__)

LOSSES, VALIDATION, SKIPPED = "losses.jsonl", "validation.jsonl", "skipped.jsonl"


@contextlib.contextmanager
def _surviving_a_full_disk() -> Iterator[None]:
    """A line or a picture that cannot be written is said; no training stops for it."""
    try:
        yield
    except OSError as error:
        log.warning("Not written: %s", error)


class Reporter:
    """Rank 0 reports; the other ranks hold a silent one."""

    def __init__(self, output: Path | None, num_steps: int, run: "Run | None" = None, label: str = "train") -> None:
        self.output, self.num_steps, self.run, self.label = output, num_steps, run, label
        self.gauges = gauges_of(label, str(output)) if output is not None else None

    def metrics(self, values: dict[str, float], step: int, data: str) -> None:
        """Report the numbers after `step` steps; `data` names the data set that the step drew from."""
        if self.output is None:
            return
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        # All of them, for the log: people see the most important ones (`train.following`).
        # Ray Train replaces `print` in its workers by one that says everything twice.
        sys.stderr.write(f"{self.label} {step}/{self.num_steps}  {data}  {shown}\n")
        sys.stderr.flush()
        line: dict[str, Any] = {"step": step, "data": data, **values}
        with _surviving_a_full_disk(), (self.output / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.gauges is not None:
            self.gauges.show({**values, "step": float(step)})
        if self.run is not None:
            self.run.metrics(values | system_values(self.output), step)

    def skipped(self, ids: list[str], reason: str, step: int) -> None:
        """Report a step that was left out, and the samples that it was of."""
        if self.output is None:
            return
        sys.stderr.write(f"{self.label} {step}/{self.num_steps}  left out: {reason}; samples {', '.join(ids)}\n")
        sys.stderr.flush()
        with _surviving_a_full_disk(), (self.output / SKIPPED).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "reason": reason, "samples": ids}) + "\n")
        if self.run is not None:
            self.run.metrics({"skipped_step": float(step)}, step)

    def validation(self, losses: dict[str, float], step: int) -> None:
        """Report losses on held-out records after `step` steps."""
        if self.output is None:
            return
        shown = "  ".join(f"{k} {v:.4g}" for k, v in losses.items() if "/" not in k)
        sys.stderr.write(f"{self.label} {step}/{self.num_steps}  held out  {shown}\n")
        sys.stderr.flush()
        with _surviving_a_full_disk(), (self.output / VALIDATION).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **losses}) + "\n")
        if self.run is not None:
            self.run.metrics({f"validation/{name}": value for name, value in losses.items()}, step)

    def gates(self, report: "GateReport") -> None:
        """Report what the trained network showed on held-out records."""
        if self.output is None:
            return
        for line in report.lines():
            say(f"{self.label} {line}")
        if self.run is not None:
            values = {f"held_out/{name}": value for name, value in report.figures.items()}
            self.run.metrics(values | {"held_out/passed": float(report.passed)}, self.num_steps)

    def images(self, pictures: "dict[str, Image.Image]", step: int) -> None:
        """Report pictures; the newest of each name also lies in `samples/`."""
        if self.output is None:
            return
        for name, picture in pictures.items():
            with _surviving_a_full_disk():
                (self.output / "samples").mkdir(exist_ok=True)
                picture.save(self.output / "samples" / f"{name}.png")
            if self.run is not None:
                self.run.image(picture, name, step)
