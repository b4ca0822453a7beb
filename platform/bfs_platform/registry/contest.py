"""Candidate against champion, record by record: is the candidate worse by more than it may be, or could it be chance?

Both were evaluated on the same records with the same noise, so the records' differences are compared: far less of them is chance than of
two means. How far the mean difference may be off is told by a paired bootstrap (Efron 1979): the records are drawn anew, with
replacement, many times. A metric passes when it is worse by no more than allowed with the confidence asked for: what cannot be told
apart from a loss that is too large counts as one, so too few records fail, they do not pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bfs_platform.evaluate.metric.catalogue import is_worse_by
from bfs_platform.registry.evaluation import protocol_of
from bfs_platform.registry.gates import GateFailed
from bfs_platform.registry.spec import PromotionSpec

_FAILED = "failed_fraction"

_OF_THE_SET = ("kid",)  # has no figure of a record


@dataclass(frozen=True, slots=True)
class Loss:
    """By how much a candidate is worse in one metric (negative: better): the mean of all pairs, and what it is at most, with confidence."""

    mean: float
    at_most: float
    num_pairs: int


def paired_loss(differences: np.ndarray, confidence: float, resamples: int, seed: int) -> Loss:
    """The mean of `differences`, float [records], and the upper end of its one-sided interval. Needs one record at least."""
    rng = np.random.default_rng([seed, len(differences)])
    means = np.array([differences[rng.integers(0, len(differences), len(differences))].mean() for _ in range(resamples)])
    return Loss(float(differences.mean()), float(np.quantile(means, confidence)), len(differences))


def losses(spec: PromotionSpec, candidate: dict[str, Any], champion: dict[str, Any]) -> dict[str, Loss]:
    """Of each metric in `may_lose` that is measured per record. Both are what `read_results` gives, of the same list."""
    theirs = _rows(champion)
    found = {}
    for name in spec.may_lose:
        pairs = [(_value(row, name), _value(theirs[key], name)) for key, row in _rows(candidate).items() if key in theirs]
        worse = [is_worse_by(name, ours, other) for ours, other in pairs if ours is not None and other is not None]
        if worse:
            found[name] = paired_loss(np.array(worse), spec.confidence, spec.resamples, spec.resampling_seed)
    return found


def contest_gate(spec: PromotionSpec, candidate: dict[str, Any], champion: dict[str, Any]) -> str:
    """Pass where no metric of `may_lose` is worse than the champion's by more than allowed. Raises `GateFailed`."""
    if candidate["list"]["hash"] != champion["list"]["hash"] or protocol_of(candidate) != protocol_of(champion):
        raise GateFailed("candidate and champion were evaluated on different records, or in different ways")
    found = losses(spec, candidate, champion)
    failures: list[str] = []
    said: list[str] = []
    for name, allowed in spec.may_lose.items():
        if name in _OF_THE_SET:
            said.append(f"{name} is a figure of the whole set, which the gate of figures compares")
            continue
        loss = found.get(name)
        if loss is None or loss.num_pairs < spec.min_pairs:
            failures.append(f"{name} was measured on {loss.num_pairs if loss else 0} records of both, at least {spec.min_pairs} are needed")
            continue
        told = f"{name} is worse by {loss.mean:.4g}, by at most {loss.at_most:.4g} with {spec.confidence:.0%} confidence"
        (failures if loss.at_most > allowed else said).append(f"{told}; allowed are {allowed:g}")
    if failures:
        raise GateFailed("; ".join(failures))
    return "; ".join(said) or "nothing is compared: may_lose is empty"


def _rows(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in results["samples"]}


def _value(row: Mapping[str, Any], name: str) -> float | None:
    """A record's figure of the model; None where it is not defined, or there is none per record."""
    figures = row["systems"].get("model")
    if name == _FAILED:
        return float(figures is None)
    value = (figures or {}).get(name)
    return None if value is None else float(value)
