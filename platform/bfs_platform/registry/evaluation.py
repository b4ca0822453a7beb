"""Figures of an evaluation as tags of the version that it is about, for the promotion gates to read."""

import hashlib
import json
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.evaluate.report.results import mean_metrics, read_results
from bfs_platform.registry.store import CONTENT_HASH, Reference, Registry

PREFIX = "eval."
LIST_HASH, NUM_SAMPLES, PROTOCOL = PREFIX + "list_hash", PREFIX + "num_samples", PREFIX + "protocol"
# What of an evaluation's recipe can change a figure of the model, besides the list.
_PROTOCOL_KEYS = ("task", "joint_guidance", "refit", "seed", "steps", "effect_threshold", "recogniser", "short_side", "learned")
_LATER = ("memory",)  # what was measured before there was such a setting is known without it


def attach_evaluation(reference: Reference, evaluation_dir: Path | str, *, uri: str | None = None) -> dict[str, float]:
    """Write the metrics of an evaluation to the version that it was made of, for the promotion gates to read.

    Raises: `BadInput` when the evaluation is of another model.
    """

    results = read_results(Path(evaluation_dir))
    registry = Registry.open(uri)
    version = registry.find(reference)
    evaluated = results["model"].get(CONTENT_HASH)
    if evaluated != version.tags.get(CONTENT_HASH):
        raise BadInput("evaluation", evaluation_dir, f"is of model {str(evaluated)[:12]}, not of {reference}", "evaluate this version")
    metrics = mean_metrics(results)
    name, number = reference.name, str(version.version)
    # What an earlier evaluation left goes first, and what the figures were measured on comes last: they never stand under another's.
    registry.untag(name, number, sorted(key for key in version.tags if key.startswith(PREFIX)))
    registry.tag(name, number, {f"{PREFIX}{key}": repr(float(value)) for key, value in metrics.items()})
    facts = {NUM_SAMPLES: str(results["num_samples"]), PROTOCOL: protocol_of(results), LIST_HASH: results["list"]["hash"]}
    registry.tag(name, number, facts)
    return metrics


def metrics_of(tags: dict[str, str]) -> dict[str, float]:
    """The metrics among a version's tags."""
    figures = {key.removeprefix(PREFIX): value for key, value in tags.items() if key.startswith(PREFIX)}
    return {name: float(value) for name, value in figures.items() if PREFIX + name not in (LIST_HASH, NUM_SAMPLES, PROTOCOL)}


def comparable(tags: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two versions were measured on the same records in the same way."""
    return all(key in tags and tags[key] == other.get(key) for key in (LIST_HASH, PROTOCOL))


def protocol_of(results: dict[str, Any]) -> str:
    """What names the way in which an evaluation measured."""
    spec = results["recipe"]["spec"]
    named = {key: spec.get(key) for key in _PROTOCOL_KEYS} | {key: spec[key] for key in _LATER if spec.get(key) is not None}
    chosen = json.dumps(named, sort_keys=True)
    return hashlib.sha256(chosen.encode()).hexdigest()
