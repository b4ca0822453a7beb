"""What a service has measured of its own drawing: read from what its `/metrics` shows, or showed when somebody kept it."""

import math
from dataclasses import dataclass

from bfs_model.errors import BadInput

_JOBS, _SECONDS, _SQUARES = "bfs_version_jobs_total", "bfs_version_seconds_total", "bfs_version_squared_seconds_total"


@dataclass(frozen=True)
class Drawings:
    """Jobs that succeeded with what is served now: number, mean seconds, standard deviation by mean (None where it is not told).

    Each job of a batch counts with the time of the whole batch, so plans from such a service are too careful.
    """

    num_jobs: int
    mean_s: float
    variation: float | None


def drawings_of(text: str, place: str) -> Drawings:
    """Read them from Prometheus' text. Versions that nobody is served by count no longer: they may have been of another speed.

    `place`: where the text is from. Raises `BadInput` when it is not a service's, or nothing was drawn yet.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except (ValueError, KeyError, IndexError):  # what it raises on text of another kind
        samples = []
    served = {sample.labels.get("version", "") for sample in samples if sample.name == "bfs_model_info"} - {""}
    if not served:
        rule = "does not say which models are served, as the /metrics of a service does"
        raise BadInput("measured", place, rule, "give the address of a service, or a file with what its /metrics showed")

    def total(wanted: str) -> float:
        # Counters name a version by the beginning of its hash.
        of_name = (sample for sample in samples if sample.name == wanted and sample.labels.get("outcome", "succeeded") == "succeeded")
        return sum(sample.value for sample in of_name if _is_one_of(sample.labels.get("version", ""), served))

    number, seconds, squares = total(_JOBS), total(_SECONDS), total(_SQUARES)
    if not number or not seconds:
        remedy = "let it draw some as your callers would, or give --draw-seconds"
        raise BadInput("measured", place, "has drawn nothing yet with what it serves", remedy)
    mean_s = seconds / number
    variation = math.sqrt(max(0.0, squares / number - mean_s**2)) / mean_s if squares else None
    return Drawings(int(number), mean_s, variation)


def _is_one_of(beginning: str, versions: set[str]) -> bool:
    return bool(beginning) and any(version.startswith(beginning) for version in versions)
