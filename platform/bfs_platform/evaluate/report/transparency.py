"""Transparent objects, reported apart: light passes through them, so their figures and those of the rest are two matters."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bfs_platform.evaluate.metric.catalogue import METRICS, is_worse_by
from bfs_platform.evaluate.metric.summary import summarise

KEY, TRANSPARENT = "material", "glass"
_TOLD = ("region_mae", "alpha_iou", "effect_recall")


def transparent(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """Figures of glass for all systems, and one sentence that sets the model's beside those of all other materials.

    Returns: `systems` (summaries by system), `n` and `sentence`; None unless there are both kinds of records.
    """
    drawn = [row for row in results["samples"] if "model" in row["systems"]]
    glass = [row for row in drawn if row["groups"].get(KEY) == TRANSPARENT]
    others = [row for row in drawn if row["groups"].get(KEY, TRANSPARENT) != TRANSPARENT]
    if not glass or not others:
        return None
    systems = {name: summarise([row["systems"][name] for row in glass if name in row["systems"]]) for name in results["systems"]}
    compared = [text for name in _TOLD if (text := _compared(name, glass, others))]
    sentence = (
        f"{len(glass)} record{'s' * (len(glass) > 1)} of {TRANSPARENT} against {len(others)} of other materials: {'; '.join(compared)}."
        if compared
        else ""
    )
    return {"systems": systems, "n": len(glass), "sentence": sentence}


def _compared(name: str, glass: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    first, second = _mean(name, glass), _mean(name, others)
    if first is None or second is None:
        return ""
    metric = METRICS[name]
    loss = is_worse_by(name, first, second)
    verdict = "equal" if round(loss, metric.digits) == 0 else f"{'worse' if loss > 0 else 'better'} by {abs(loss):.{metric.digits}f}"
    return f"{metric.label} {first:.{metric.digits}f} against {second:.{metric.digits}f}, {verdict}"


def _mean(name: str, rows: Sequence[Mapping[str, Any]]) -> float | None:
    values = [value for row in rows if (value := row["systems"].get("model", {}).get(name)) is not None]
    return statistics.fmean(values) if values else None
