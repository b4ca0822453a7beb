#!/usr/bin/env python
"""The table of docs/training.md: what each full-size recipe takes on the machine that it is for, as `bfs train plan` has it.

    python infra/road/make.py --document docs/training.md

Rewrites what stands between `<!-- plans -->` and `<!-- /plans -->`.
"""

import argparse
import re
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.config import get, names
from bfs_platform.jobs import run_job
from bfs_platform.rehearse.report import planned
from bfs_platform.train.spec import TrainSpec

_MARKED = re.compile(r"(<!-- plans -->\n).*?(<!-- /plans -->)", re.DOTALL)
_GIB = 1024**3


def main() -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--document", type=Path, required=True, help="Markdown file with the two marks")
    document = parser.parse_args().document
    text = document.read_text(encoding="utf-8")
    if not _MARKED.search(text):
        raise BadInput("document", document, "has no plans marks", "add <!-- plans --> and <!-- /plans --> on lines of their own")
    return write_whole(document, _MARKED.sub(lambda found: found[1] + table() + found[2], text).encode())


def table() -> str:
    """A row of Markdown for each training recipe at full size."""
    rows = ["| recipe | GPUs | GiB each | seconds a step | days |", "| --- | --- | --- | --- | --- |"]
    for name in names():
        if name.startswith("flux_") and isinstance(get(name), TrainSpec):
            plan, gpu = planned(name)
            held = f"{plan.memory.total / _GIB:.0f} of {plan.memory_limit_bytes / _GIB:.0f}"
            rows.append(f"| `{name}` | {plan.world_size} × {gpu} | {held} | {plan.step_s:.2f} | {plan.days:.2f} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    run_job(main)
