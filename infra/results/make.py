#!/usr/bin/env python
"""The results tables of a document, as Markdown between marks: what an evaluation measured, also of edited layers, what a comparison of
trainings did.

    python jobs/render_tabletop.py --scenes 200 --seed 11 --split heldout --output heldout
    python jobs/evaluate.py --recipe tabletop_evaluation --model tiny --input heldout --list tabletop_heldout_200 --output evaluation
    python infra/results/make.py --evaluation evaluation --document docs/results.md

    python jobs/render_tabletop.py --scenes 40 --seed 12 --split heldout --edits --output edited
    python jobs/evaluate.py --recipe tabletop_evaluation --model tiny --input edited --output editing
    python infra/results/make.py --editing editing --document docs/results.md

    python jobs/compare_parts.py --synthetic stage1 --natural stage2 --input heldout --output parts --set …
    python infra/results/make.py --parts parts --document docs/results.md

Rewrites what stands between `<!-- results -->` and `<!-- /results -->`, and so for `editing` and `parts`.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.evaluate.metric.catalogue import EDITING, METRICS
from bfs_platform.evaluate.report.results import read_results
from bfs_platform.evaluate.run import parts
from bfs_platform.jobs import run_job

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
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--evaluation", type=Path, help="output of jobs/evaluate.py")
    given.add_argument("--editing", type=Path, help="output of jobs/evaluate.py on scenes that were rendered with --edits")
    given.add_argument("--parts", type=Path, help="output of jobs/compare_parts.py")
    parser.add_argument("--document", type=Path, required=True, help="Markdown file with the two marks")
    arguments = parser.parse_args()
    if arguments.evaluation is not None:
        return rewrite(arguments.document, "results", markdown(read_results(arguments.evaluation)))
    if arguments.editing is not None:
        return rewrite(arguments.document, "editing", of_edits(read_results(arguments.editing), arguments.editing))
    return rewrite(arguments.document, "parts", of_parts(arguments.parts / "table"))


def rewrite(document: Path, mark: str, tables: str) -> Path:
    """Put `tables` between the marks of `document`. Raises `BadInput` when it has none."""
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    text = document.read_text(encoding="utf-8")
    if not marked.search(text):
        raise BadInput("document", document, f"has no {mark} marks", f"add <!-- {mark} --> and <!-- /{mark} --> on lines of their own")
    return write_whole(document, marked.sub(lambda found: found[1] + tables + found[2], text).encode(), key="document").absolute()


def of_parts(folder: Path) -> str:
    """What was compared, and the table of it."""
    spec = integrity.verify(folder, parts.KIND)["body"]["spec"]
    seeds = ", ".join(map(str, spec["seeds"]))
    head = f"{spec['stage1_steps']} steps of stage 1 and {spec['stage2_steps']} of stage 2, seeds {seeds}; "
    return head + "mean ± standard deviation over seeds.\n\n" + (folder / "table.md").read_text(encoding="utf-8")


def of_edits(results: dict[str, Any], folder: Path) -> str:
    """Means ± standard deviations of the errors after each edit. Raises `BadInput` where nothing was edited."""
    systems = results["systems"]
    counts = {name: systems["model"].get(name, {"n": 0})["n"] for name in EDITING}
    if not any(counts.values()):
        raise BadInput("editing", folder, "is of scenes without edits", "render them with --edits, and evaluate again")
    rows = [[_label(name), str(counts[name]), *[_cell(figures[name], name) for figures in systems.values()]] for name in EDITING]
    return _head(results) + _table(["error after", "records", *systems], rows)


def markdown(results: dict[str, Any]) -> str:
    """Means ± standard deviations of all systems, then the model's figures by group."""
    systems = results["systems"]
    head = _head(results)
    tables = [_table(["", *systems], [[_label(name), *[_cell(figures[name], name) for figures in systems.values()]] for name in _SHOWN])]
    for key, groups in ((key, groups) for key, groups in results["groups"].items() if key == _GROUPED_BY):
        rows = [[value, *[_cell(summary[name], name) for name in _SHOWN[:-1]]] for value, summary in groups.items()]
        tables.append(_table([key, *map(_label, _SHOWN[:-1])], rows))
    return head + "\n".join(tables)


def _head(results: dict[str, Any]) -> str:
    model = results["model"]
    head = f"Model {model['uri']} ({model['content_hash'][:12]}), {results['num_samples']} records ({results['list']['hash'][:12]}), "
    return head + f"{results['recipe']['spec']['steps'] or 'its own number of'} steps; mean ± standard deviation over records.\n\n"


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
