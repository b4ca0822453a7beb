"""Several evaluations in one report: the paper's tables 1 and 3 with our rows above its own, table 2 of a study, and what is exact.

Figures of different lists of records say nothing about each other: evaluations of other records than the first's are refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.evaluate.learned.paper import COLUMNS, PAPER, SOURCE
from bfs_platform.evaluate.metric.catalogue import EDITING, known
from bfs_platform.evaluate.report.results import read_results

_PROTOCOL = ("task", "seed", "short_side", "effect_threshold")
_KID = ("kid", "kid_subsets", "kid_subset_size")
EXACT = ("region_mae", "region_psnr", "region_ssim", "alpha_iou", "effect_recall", "effect_precision", "background_changed")


def tables(folders: Sequence[Path], study: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The tables of finished evaluations: rows by system, a baseline that several of them have once, from the first.

    Returns: `paper` and `exact` and `editing`, each `{"columns": …, "rows": {system: [figure or None, …]}}` and without rows where
    nothing of it was measured; `study`, system → question → mean. Raises: `BadInput` or `IntegrityError` for a folder that is no
    evaluation, or one of other records or of another way of measuring; `BadInput` for a `study` that is none.
    """
    found = [read_results(folder) for folder in folders]
    for folder, results in zip(folders, found, strict=True):
        if results["list"]["hash"] != found[0]["list"]["hash"]:
            rule = f"evaluates other records than {folders[0]}"
            raise BadInput("evaluation", folder, rule, "evaluate all models with the same --input, or with --list of the first")
        own, first = (_ways(one["recipe"]["spec"]) for one in (results, found[0]))
        for key in own.keys() & first.keys():
            ours, firsts = own[key], first[key]
            if ours != firsts:
                rule = f"was measured with {key}={ours}, {folders[0]} with {firsts}"
                raise BadInput("evaluation", folder, rule, "evaluate all models in the same way")
    systems = _systems(found)
    return {
        "list_hash": found[0]["list"]["hash"],
        "num_samples": found[0]["num_samples"],
        "paper": _of(systems, COLUMNS),
        "exact": _of(systems, EXACT),
        "editing": _of(systems, EDITING),
        "study": _studied(study),
    }


def _ways(spec: Mapping[str, Any]) -> dict[str, Any]:
    """How an evaluation has measured, as far as it has: a learned metric that one lacks leaves a gap and contradicts nothing."""
    learned = {key: value for key, value in (spec.get("learned") or {}).items() if value is not None}
    weights = {f"learned.{key}": Path(learned[key]).name for key in ("clip", "dino") if key in learned}
    kid = {f"learned.{key}": learned[key] for key in _KID if key in learned} if "kid" in learned else {}
    return {key: spec.get(key) for key in _PROTOCOL} | weights | kid


def markdown(found: Mapping[str, Any]) -> str:
    """The same as a document."""
    parts = [f"{found['num_samples']} records ({found['list_hash'][:12]}); means.\n"]
    if found["paper"]["rows"]:
        printed = {f"{system}, as printed": [row.get(name) for name in COLUMNS] for system, row in PAPER.items()}
        parts.append(f"## The paper's tables 1 and 3\n\n{_table(COLUMNS, found['paper']['rows'] | printed)}\n{SOURCE}\n")
    if found["study"]:
        questions = list(next(iter(found["study"].values())))
        rows = [[question, *(f"{row[question]:.2f}" for row in found["study"].values())] for question in questions]
        parts.append(f"## The paper's table 2\n\n{_lines(['question', *found['study']], rows)}")
    for title, name in (("Against the truth", "exact"), ("Edited by compositing alone", "editing")):
        if found[name]["rows"]:
            parts.append(f"## {title}\n\n{_table(found[name]['columns'], found[name]['rows'])}")
    return "\n".join(parts)


def _studied(study: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """System → question → mean of what `bfs study analyse` wrote."""
    if study is None:
        return {}
    try:
        return {system: {q: float(v["mean"]) for q, v in row.items()} for system, row in study["systems"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        remedy = "give what `bfs study analyse` wrote"
        raise BadInput("study", "<JSON>", "holds no means by system and question", remedy) from None


def _systems(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Means of every system by name. Models of one name are told apart by their content hash."""
    systems: dict[str, dict[str, float | None]] = {}
    uris = [results["model"]["uri"] for results in found]
    steps = {results["recipe"]["spec"].get("steps") for results in found}
    for results in found:
        for system, summary in results["systems"].items():
            name = system
            if system == "model":
                uri = str(results["model"]["uri"])
                name = uri if uris.count(uri) == 1 else f"{uri}@{results['model']['content_hash'][:8]}"
                name += "" if len(steps) == 1 else f", {results['recipe']['spec'].get('steps') or 'default'} steps"
            distance = results.get("learned", {}).get("kid", {}).get(system)
            means = {metric: figures["mean"] for metric, figures in summary.items()}
            row = means | ({} if distance is None else {"kid": distance["mean"]})
            if system == "model" and name in systems and systems[name] != row:
                rule = "is there twice with other figures, and nothing that tables show tells the two apart"
                raise BadInput("evaluation", name, rule, "give one of them")
            systems.setdefault(name, row)
    return systems


def _of(systems: Mapping[str, Mapping[str, float | None]], columns: Sequence[str]) -> dict[str, Any]:
    rows = {name: [means.get(column) for column in columns] for name, means in systems.items()}
    return {"columns": list(columns), "rows": {name: row for name, row in rows.items() if any(value is not None for value in row)}}


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    metrics = known()
    head = ["", *(f"{metrics[name].label} {'↑' if metrics[name].higher else '↓'}" for name in columns)]
    digits = [metrics[name].digits for name in columns]
    cells = {name: ["–" if v is None else f"{v:.{d}f}" for v, d in zip(row, digits, strict=True)] for name, row in rows.items()}
    return _lines(head, [[name, *row] for name, row in cells.items()])


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in (head, ["---"] * len(head), *rows))
