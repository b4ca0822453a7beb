#!/usr/bin/env python
"""The results table of a document: what an evaluation measured, as Markdown between two marks.

    python jobs/render_tabletop.py --scenes 200 --seed 11 --split heldout --output heldout
    python jobs/evaluate.py --recipe tabletop_evaluation --model tiny --input heldout --list tabletop_heldout_200 --output evaluation
    python infra/results/make.py --evaluation evaluation --document ARCHITECTURE.md

Rewrites what stands between `<!-- results -->` and `<!-- /results -->`.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.evaluate.catalogue import METRICS
from bfs_platform.evaluate.results import read_results
from bfs_platform.jobs import run_job

_MARKED = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
_GROUPED_BY = "material"
_SHOWN = (
    "region_mae",
    "region_psnr",
    "region_ssim",
    "alpha_iou",
    "box_iou",
    "effect_recall",
    "effect_precision",
    "alpha_outside",
    "colour_recognised",
    "shape_recognised",
    "background_changed",
)


def main() -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluation", type=Path, required=True, help="output of jobs/evaluate.py")
    parser.add_argument("--document", type=Path, required=True, help="Markdown file with the two marks")
    arguments = parser.parse_args()
    text = arguments.document.read_text(encoding="utf-8")
    if not _MARKED.search(text):
        raise BadInput(
            "document", arguments.document, "has no results marks", "add <!-- results --> and <!-- /results --> on lines of their own"
        )
    tables = markdown(read_results(arguments.evaluation))
    arguments.document.write_text(_MARKED.sub(lambda found: found[1] + tables + found[2], text), encoding="utf-8")
    return arguments.document.absolute()


def markdown(results: dict[str, Any]) -> str:
    """Means ± standard deviations of all systems, then the model's figures by group."""
    model, systems = results["model"], results["systems"]
    head = f"Model {model['uri']} ({model['content_hash'][:12]}), {results['num_samples']} records ({results['list']['hash'][:12]}), "
    head += f"{results['recipe']['spec']['steps'] or 'its own number of'} steps; mean ± standard deviation over records.\n\n"
    tables = [_table(["", *systems], [[_label(name), *[_cell(figures[name], name) for figures in systems.values()]] for name in _SHOWN])]
    for key, groups in ((key, groups) for key, groups in results["groups"].items() if key == _GROUPED_BY):
        rows = [[value, *[_cell(summary[name], name) for name in _SHOWN[:-1]]] for value, summary in groups.items()]
        tables.append(_table([key, *map(_label, _SHOWN[:-1])], rows))
    return head + "\n".join(tables)


def _label(name: str) -> str:
    return f"{METRICS[name].label} {'↑' if METRICS[name].higher else '↓'}"


def _cell(summary: dict[str, Any], name: str) -> str:
    if summary["mean"] is None:
        return "–"
    digits = METRICS[name].digits
    spread = "" if summary["std"] is None or name.endswith("_recognised") else f" ± {summary['std']:.{digits}f}"
    return f"{summary['mean']:.{digits}f}{spread}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    run_job(main)
