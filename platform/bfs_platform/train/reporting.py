"""Where a training run tells how it goes: stderr, MLflow, and a text file of losses beside the result."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.tracking.run import Run


class Reporter:
    """Rank 0 reports; the other ranks hold a silent one."""

    def __init__(self, output: Path | None, num_steps: int, run: "Run | None" = None, label: str = "train") -> None:
        self.output, self.num_steps, self.run, self.label = output, num_steps, run, label

    def metrics(self, values: dict[str, float], step: int, data: str) -> None:
        """Report the numbers after `step` steps; `data` names the data set that the step drew from."""
        if self.output is None:
            return
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        # Ray Train replaces `print` in its workers by one that says everything twice.
        sys.stderr.write(f"{self.label} {step}/{self.num_steps}  {data}  {shown}\n")
        sys.stderr.flush()
        line: dict[str, Any] = {"step": step, "data": data, **values}
        with (self.output / "losses.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.run is not None:
            self.run.metrics(values, step)

    def images(self, pictures: "dict[str, Image.Image]", step: int) -> None:
        """Report pictures; the newest of each name also lies in `samples/`."""
        if self.output is None:
            return
        (self.output / "samples").mkdir(exist_ok=True)
        for name, picture in pictures.items():
            picture.save(self.output / "samples" / f"{name}.png")
            if self.run is not None:
                self.run.image(picture, name, step)
