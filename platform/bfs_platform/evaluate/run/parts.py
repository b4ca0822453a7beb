"""The paper's Fig. 4 in numbers: the whole training, and the same without one of its parts, at one budget and several seeds.

Every training and every evaluation is a job that a user could type, in a folder of its own. What is finished is not repeated,
so an interrupted comparison goes on where it stopped.
"""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_model.weight import bundle
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.evaluate.metric.catalogue import METRICS
from bfs_platform.evaluate.report.results import read_results
from bfs_platform.evaluate.spec import PartsSpec
from bfs_platform.processes import run_script

KIND = "parts"


@dataclass(frozen=True)
class Variant:
    """One training: the recipes of its stages, None where it has no such stage."""

    label: str
    stage1: str | None
    stage2: str | None


# A recipe of a missing stage trains for the steps of both.
VARIANTS: Mapping[str, Variant] = {
    "full": Variant("full", "tabletop_stage1", "tabletop_stage2"),
    "without_stage1": Variant("without stage 1", None, "ablation_without_stage1"),
    "without_stage2": Variant("without stage 2", "ablation_without_stage2", None),
    "without_comp": Variant("without L_comp", "ablation_without_comp_stage1", "ablation_without_comp_stage2"),
    "without_reg": Variant("without L_reg", "tabletop_stage1", "ablation_without_reg_stage2"),
}


@dataclass(frozen=True)
class Inputs:
    """Where things are: both training sets, the base to train on, the scenes to measure on."""

    synthetic: str
    natural: str
    base: str
    scenes: str


@dataclass(frozen=True)
class Job:
    """One command, and the committed folder that it leaves."""

    script: str
    arguments: tuple[str, ...]
    result: Path

    @property
    def done(self) -> bool:
        """Whether its result is there already."""
        return (self.result / integrity.MANIFEST).exists()


def jobs_of(spec: PartsSpec, name: str, seed: int, inputs: Inputs, output: Path) -> list[Job]:
    """The jobs of one variant and seed, in order. Variants that share their first stage share its folder."""
    variant, jobs, base = VARIANTS[name], [], inputs.base
    both = spec.stage1_steps + spec.stage2_steps
    if variant.stage1 is not None:
        steps = both if variant.stage2 is None else spec.stage1_steps
        folder = output / f"{variant.stage1}-{seed}"
        jobs.append(_training(spec, "stage1", variant.stage1, seed, steps, base, [inputs.synthetic], folder))
        base = str(folder)
    if variant.stage2 is not None:
        steps = both if variant.stage1 is None else spec.stage2_steps
        folder = output / f"{name}-{seed}"
        jobs.append(_training(spec, "stage2", variant.stage2, seed, steps, base, [inputs.synthetic, inputs.natural], folder))
        base = str(folder)
    folder = output / f"evaluation-{name}-{seed}"
    arguments = ["--recipe", "tabletop_evaluation", "--model", base, "--input", inputs.scenes, "--output", str(folder)]
    return [*jobs, Job("evaluate", (*arguments, *_sets(spec.evaluation)), folder)]


def compare(spec: PartsSpec, inputs: Inputs, output: Path) -> Path:
    """Run what is missing and commit the table to `output`/table; returns the path of its manifest.

    Raises `BadInput` when `output` holds another comparison, or an input is not there.
    """
    facts = {**spec.resolved(), "inputs": asdict(inputs), "content_hashes": content_hashes(inputs)}
    _claim(output, facts)
    for seed in spec.seeds:
        for name in spec.variants:
            for job in jobs_of(spec, name, seed, inputs, output):
                if not job.done:
                    run_script(job.script, job.arguments, os.environ)
    results: dict[str, dict[int, dict[str, Any]]] = {
        name: {seed: read_results(output / f"evaluation-{name}-{seed}") for seed in spec.seeds} for name in spec.variants
    }
    figures = table(results)
    with integrity.staged(output / "table", KIND) as staging:
        (staging / "table.md").write_text(markdown(figures), encoding="utf-8")
        return integrity.commit(staging, output / "table", KIND, {**facts, "table": figures})


def content_hashes(inputs: Inputs) -> dict[str, str]:
    """What the trainings start from and are given. Raises `BadInput` when it is not there or not whole."""
    data = {name: open_dataset(getattr(inputs, name)).content_hash for name in ("synthetic", "natural")}
    return {"base": bundle.content_hash(inputs.base), **data}


def table(results: Mapping[str, Mapping[int, dict[str, Any]]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean over seeds of the means over records, and their standard deviation over seeds, by variant and metric."""
    lists = {result["list"]["hash"] for by_seed in results.values() for result in by_seed.values()}
    if len(lists) > 1:
        raise BadInput("output", f"{len(lists)} lists", "are of different records", "remove what was made of earlier inputs")
    made: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, by_seed in results.items():
        figures = [result["systems"]["model"] for result in by_seed.values()]
        known = [metric for metric in figures[0] if all(figure.get(metric, {}).get("mean") is not None for figure in figures)]
        made[name] = {metric: _spread([figure[metric]["mean"] for figure in figures]) for metric in known}
    return made


def markdown(figures: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    """The table as Markdown: a row per metric that all variants have, a column per variant, means ± spread over seeds."""
    shown = [metric for metric in METRICS if all(metric in column for column in figures.values())]
    lines = [["", *(VARIANTS[name].label for name in figures)], ["---"] * (len(figures) + 1)]
    for metric in shown:
        about, cells = METRICS[metric], [column[metric] for column in figures.values()]
        label = f"{about.label} {'↑' if about.higher else '↓'}"
        lines.append([label, *(_cell(cell, about.digits) for cell in cells)])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _claim(output: Path, facts: Mapping[str, Any]) -> None:
    """Note what `output` compares, so that results of other settings are never taken for its own."""
    note, text = output / "comparison.json", json.dumps(facts, indent=1, sort_keys=True) + "\n"
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise BadInput("output", output, "holds a comparison with other settings or inputs", "choose another directory")
    output.mkdir(parents=True, exist_ok=True)
    write_whole(note, text.encode())


def _training(spec: PartsSpec, script: str, recipe: str, seed: int, steps: int, base: str, datasets: Sequence[str], folder: Path) -> Job:
    data = [part for dataset in datasets for part in ("--dataset", dataset)]
    if recipe == "ablation_without_reg_stage2":
        data = data[-2:]  # it trains on natural pictures alone
    own = (f"seed={seed}", f"num_steps={steps}", *spec.training)
    arguments = ("--recipe", recipe, "--base", base, *data, "--output", str(folder), *_sets(own))
    return Job(script, arguments, folder / "model")


def _sets(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for override in overrides for part in ("--set", override))


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def _cell(cell: Mapping[str, float | None], digits: int) -> str:
    spread = "" if cell["std"] is None else f" ± {cell['std']:.{digits}f}"
    return f"{cell['mean']:.{digits}f}{spread}"
