"""How far raters agree: Krippendorff's alpha."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: Sequence[Sequence[int | None]], level: Level = "ordinal") -> float | None:
    """Alpha of `ratings`, one row per rater and one column per thing rated, None where a rater said nothing.

    1 is agreement, 0 what chance gives, below 0 disagreement by system (Krippendorff, Content Analysis, ch. 11, by way of
    the matrix of coincidences). None when it is not defined: fewer than two ratings of one thing, or all ratings the same.
    """
    units = [[value for value in column if value is not None] for column in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in units for value in unit})
    if len(values) < 2:
        return None
    place = {value: index for index, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in units:
        counts = np.bincount([place[value] for value in unit], minlength=len(values)).astype(float)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(axis=1)
    distance = _squared_distance(values, totals, level)
    expected = float((np.outer(totals, totals) * distance).sum()) / (totals.sum() - 1)
    return 1 - float((coincidences * distance).sum()) / expected


def _squared_distance(values: Sequence[int], totals: np.ndarray, level: Level) -> np.ndarray:
    """δ² between all pairs of values. Ordinal: the number of ratings between two values, the ends counted half."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        position = np.asarray(values, float)
    else:
        position = np.cumsum(totals) - totals / 2
    return np.asarray((position[:, None] - position[None, :]) ** 2)
