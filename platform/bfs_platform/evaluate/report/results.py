"""metrics.json: all figures of an evaluation, and what they were measured on and with."""

import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bfs_model import __version__, integrity
from bfs_model.errors import BadInput
from bfs_platform.evaluate.learned.scoring import corpus
from bfs_platform.evaluate.metric.summary import by_group, summarise
from bfs_platform.evaluate.samples import Entry, entry_facts
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.baselines import system_name

KIND = "evaluation"
METRICS_FILE = "metrics.json"
_FORMAT = "bfs-evaluation/1"
_LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow", "scipy")


def systems_of(spec: EvaluationSpec) -> tuple[str, ...]:
    """The model and its baselines, in the order of all tables."""
    return ("model", *map(system_name, spec.baselines))


def assemble(
    rows: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    spec: EvaluationSpec,
    model: dict[str, Any],
    learned: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Gather the rows of all records, in the order of the list. Holds no times: the same evaluation gives the same document.

    `learned`: what `check_learned` found, when learned metrics were taken.
    """
    failures = [failure for row in rows for failure in row["failures"]]
    num_failed = sum("model" not in row["systems"] for row in rows)
    systems = systems_of(spec)
    return {
        "format": _FORMAT,
        "model": model,
        "list": entry_facts(entries),
        "recipe": spec.resolved(),
        "versions": versions(),
        "num_samples": len(rows),
        "num_failed": num_failed,
        "failed_fraction": num_failed / len(rows),
        "failures": failures,
        "warnings": warnings_in(rows),
        "systems": {name: summarise([row["systems"][name] for row in rows if name in row["systems"]]) for name in systems},
        "learned": (learned or {}) | {"kid": corpus(rows, spec.learned, spec.seed, systems)},
        "groups": by_group(rows, spec.group_by),
        "samples": [{key: value for key, value in row.items() if key not in ("seconds", "failures", "features")} for row in rows],
    }


def warnings_in(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What systems said of their results: each warning once, with its `system`, on how many records and the first of them."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for system, warnings in row.get("warnings", {}).items():
            for warning in warnings:
                found.setdefault((system, warning), []).append(row["id"])
    return [{"system": s, "warning": w, "num_records": len(ids), "first": ids[0]} for (s, w), ids in found.items()]


def versions() -> dict[str, str]:
    """Versions that can change a figure."""
    return {"bfs": __version__, "python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}}


def write_results(results: dict[str, Any], directory: Path) -> Path:
    """Write metrics.json."""
    path = directory / METRICS_FILE
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_results(directory: Path) -> dict[str, Any]:
    """Read the metrics.json of a finished evaluation, checked against its manifest. Raises `IntegrityError` or `BadInput`."""
    manifest = integrity.read_manifest(directory, KIND)
    entry = next((entry for entry in manifest["files"] if entry["path"] == METRICS_FILE), None)
    if entry is None:
        raise BadInput("evaluation", directory, f"holds no {METRICS_FILE}", "evaluate again")
    results: dict[str, Any] = json.loads(integrity.verify_file(directory, entry).read_text(encoding="utf-8"))
    return results


def mean_metrics(results: dict[str, Any]) -> dict[str, float]:
    """The model's means, those that are defined, and `failed_fraction`: what is logged and what gates look at."""
    means = {name: entry["mean"] for name, entry in results["systems"]["model"].items() if entry["mean"] is not None}
    distance = results.get("learned", {}).get("kid", {}).get("model")
    if distance is not None:
        means["kid"] = distance["mean"]
    return means | {"failed_fraction": results["failed_fraction"]}
