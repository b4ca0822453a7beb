"""Numbers of a job for Prometheus, through Ray's metrics agent: each appears there with `ray_` before its name."""

import sys
from collections.abc import Mapping
from typing import Any


class Gauges:
    """Gauges of one job, made once it is in a Ray cluster. Silent where none is.

    `named`: name and description of the gauge of each value. `tags`: what each of them says of the job; `labels`: what is told with
    every value besides.
    """

    def __init__(self, named: Mapping[str, tuple[str, str]], tags: Mapping[str, str], labels: tuple[str, ...] = ()) -> None:
        self._named, self._tags, self._labels = named, dict(tags), labels
        self._gauges: dict[str, Any] = {}

    def show(self, values: Mapping[str, float], **labels: str) -> None:
        """Set the gauges of all values that have one."""
        if not self._gauges and _in_cluster():
            from ray.util.metrics import Gauge

            keys = (*self._tags, *self._labels)
            self._gauges = {value: Gauge(name, description, tag_keys=keys) for value, (name, description) in self._named.items()}
        for name, gauge in self._gauges.items():
            if name in values:
                gauge.set(values[name], tags=self._tags | labels)


def _in_cluster() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
