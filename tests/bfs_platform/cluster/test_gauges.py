"""What operators see of a job: gauges in a cluster, nothing outside one."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from bfs_platform.cluster import gauges
from bfs_platform.data.plan.gauges import BuildGauges
from bfs_platform.train.report.gauges import gauges_of

Seen = dict[tuple[str, ...], tuple[float, dict[str, str]]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What gauges were set to, by name and labels, in what passes for a cluster."""
    import ray.util.metrics

    found: Seen = {}

    class Fake:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name, self.keys = name, tag_keys
            assert description

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert {*tags} == {*self.keys}
            found[(self.name, *(tags[key] for key in self.keys[1:] if key == "stage"))] = value, tags

    monkeypatch.setattr(ray.util.metrics, "Gauge", Fake)
    monkeypatch.setattr(gauges, "_in_cluster", lambda: True)
    return found


def test_a_training_shows_the_values_that_have_a_gauge(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reported number sets its own, tagged with recipe and output; outside a cluster nothing happens, until there is one."""
    gauges_of("tabletop_stage1", "/run").show({"loss": 0.5, "flow": 0.4})
    assert seen == {("bfs_train_loss",): (0.5, {"recipe": "tabletop_stage1", "output": "/run"})}
    monkeypatch.setattr(gauges, "_in_cluster", lambda: False)
    later = gauges_of("tabletop_stage1", "/other")
    later.show({"loss": 0.7})
    assert seen[("bfs_train_loss",)][0] == 0.5
    monkeypatch.setattr(gauges, "_in_cluster", lambda: True)
    later.show({"loss": 0.7})
    assert seen[("bfs_train_loss",)][0] == 0.7


def test_a_build_shows_how_far_it_is_and_where_its_time_goes(seen: Seen) -> None:
    """Records done, planned and rejected, and busy seconds of each stage."""
    ledger: Any = SimpleNamespace(num_records=30, rejects=Counter(box=2, mask=1), seconds=Counter(decode=1.5, encode=8.0))
    BuildGauges("s3://sets/one", 100).show(ledger)
    assert {name: value for name, (value, _) in seen.items()} == {
        ("bfs_build_records",): 30,
        ("bfs_build_records_planned",): 100,
        ("bfs_build_rejected_records",): 3,
        ("bfs_build_stage_busy_seconds", "decode"): 1.5,
        ("bfs_build_stage_busy_seconds", "encode"): 8.0,
    }
    assert all(tags["output"] == "s3://sets/one" for _, tags in seen.values())
