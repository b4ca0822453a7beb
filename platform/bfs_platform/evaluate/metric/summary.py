"""Means and spread over records."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bfs_platform.evaluate.metric.catalogue import LEARNED, exact

Row = Mapping[str, Any]


def summarise(figures: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int | None]]:
    """For each exact metric, and each learned one that was taken: `mean`, `std` (n − 1; None below two values), `min`, `max`, `n`.

    `n` counts the records where the metric is defined.
    """
    out: dict[str, dict[str, float | int | None]] = {}
    for name in (*exact(), *(name for name in LEARNED if any(name in row for row in figures))):
        values = [value for row in figures if (value := row.get(name)) is not None]
        out[name] = {
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "min": min(values, default=None),
            "max": max(values, default=None),
            "n": len(values),
        }
    return out


def by_group(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Summaries of the model's figures for each value of each key: `{"material": {"glass": {...}}}`."""
    out: dict[str, dict[str, Any]] = {}
    for key in keys:
        values = sorted({row["groups"][key] for row in rows if key in row["groups"]})
        if values:
            out[key] = {value: summarise(_figures_of(rows, key, value)) for value in values}
    return out


def _figures_of(rows: Sequence[Row], key: str, value: str) -> list[Mapping[str, float | None]]:
    return [row["systems"]["model"] for row in rows if row["groups"].get(key) == value and "model" in row["systems"]]
