"""One evaluation from list to report, spread over a Ray cluster."""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.cluster.environment import joins_cluster
from bfs_platform.config import dump
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say
from bfs_platform.evaluate.learned.scoring import check_learned, present
from bfs_platform.evaluate.report.full_size import full_size_kinds, write_full_size
from bfs_platform.evaluate.report.pictures import shown_kinds
from bfs_platform.evaluate.report.report import write_report
from bfs_platform.evaluate.report.results import KIND, assemble, systems_of, warnings_in, write_results
from bfs_platform.evaluate.run.actors import spread
from bfs_platform.evaluate.run.captions import captioned
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.samples import Entry, frozen_list, list_hash
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.baselines import find_baseline
from bfs_platform.evaluate.system.models import loader

Images = dict[int, dict[str, bytes]]


def evaluate(model: str, facts: dict[str, Any], root: Path, entries: Sequence[Entry], output: Path, spec: EvaluationSpec) -> Path:
    """Evaluate on `entries` and commit `output`: metrics.json, list.json, recipe.json, report/, pictures/ and the manifest.

    Args: `model` is what the spec's loader accepts on any node; `facts` name it in the results; `root` is the folder that
    the entries belong to, readable on any node. Needs a connected Ray. The content hash depends on no time and no order.
    Returns: the path of the manifest.
    """
    loader(spec.loader, spec.memory)  # a wrong name is an error here, before anything is started
    if spec.memory is not None and not joins_cluster():  # else it is the workers' machines that count
        from bfs_model.weight.memory import checked_mode

        checked_mode(spec.memory)
    for name in spec.baselines:
        find_baseline(name)
    learned = check_learned(spec.learned)
    systems = systems_of(spec)
    if len(set(systems)) < len(systems):
        raise BadInput("baselines", ", ".join(spec.baselines), "name one system twice", "give each its own name before =")
    integrity.check_free(output, KIND)
    started = time.monotonic()
    entries, wrote = captioned(entries, root, spec)
    run_spec = spec.model_copy(update={"learned": present(spec.learned, learned)})
    rows, images = _collect(_run(model, root, entries, run_spec), len(entries), (*shown_kinds(systems), *full_size_kinds(systems)))
    results = assemble(rows, entries, spec, facts, learned) | ({"captions": wrote} if wrote else {})
    with integrity.staged(output, KIND) as staging:
        write_results(results, staging)
        (staging / "list.json").write_text(json.dumps(frozen_list(entries), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if spec.recipe_name:
            dump(spec, staging / "recipe.json")
        write_report(results, images, staging / "report")
        write_full_size(images, systems, staging)
        body = {"model": facts, "list_hash": list_hash(entries), "num_samples": len(rows), "num_failed": results["num_failed"]}
        notes = {"wall_s": round(time.monotonic() - started, 3), "mean_seconds": _mean_seconds(rows)}
        return integrity.commit(staging, output, KIND, body | {"recipe": spec.resolved()}, notes)


def _run(model: str, root: Path, entries: Sequence[Entry], spec: EvaluationSpec) -> Iterator[dict[str, Any]]:
    """Rows of the stream as they come, in any order."""
    wanted = [{"shown": i < spec.report_samples, "kept": i < spec.kept_records} for i in range(len(entries))]
    items = [{"position": i, "entry": entry.to_json(), **wanted[i]} for i, entry in enumerate(entries)]
    yield from spread(Evaluator, (model, root, spec), items, spec)


def _collect(stream: Iterator[dict[str, Any]], total: int, kinds: Sequence[str]) -> tuple[list[dict[str, Any]], Images]:
    """Results in the order of the list, and pictures by position. People see how many there are."""
    results: dict[int, dict[str, Any]] = {}
    images: Images = {}
    with progress("evaluation", total, "records") as show:
        for row in stream:
            position = int(row["position"])
            results[position] = json.loads(row["result"])
            found = {kind: bytes(row[kind]) for kind in kinds if row[kind]}
            if found:
                images[position] = found
            for failure in results[position]["failures"]:
                say(f"Record {failure['id']}: {failure['system']} failed: {failure['error']}")
            show(len(results))
    assert len(results) == total, f"{total - len(results)} records came back without a result"
    rows = [results[position] for position in range(total)]
    for about in warnings_in(rows):
        say(f"{about['system']}, {about['num_records']} of {total} records, first {about['first']}: {about['warning']}")
    return rows, images


def _mean_seconds(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = {name for row in rows for name in row.get("seconds", {})}
    return {name: round(statistics.fmean(r["seconds"][name] for r in rows if name in r.get("seconds", {})), 4) for name in sorted(names)}
