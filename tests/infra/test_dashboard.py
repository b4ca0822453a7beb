"""The Grafana dashboard asks for metrics that the code exports, all of the jobs' among them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bfs_platform.data.plan import gauges as building
from bfs_platform.train.report import gauges as training
from bfs_serve.api.metrics import ServiceMetrics

OF_JOBS = {f"ray_{name}" for named in (training.GAUGES, building.GAUGES, building.STAGE_GAUGES) for name, _ in named.values()}
_WORD = re.compile(r"\b(?:ray_)?bfs_[a-z0-9_]+\b")


@pytest.fixture(scope="module")
def dashboard(repo_root: Path) -> dict[str, Any]:
    """The dashboard as it is imported."""
    return dict(json.loads((repo_root / "infra" / "grafana" / "bfs.json").read_text(encoding="utf-8")))


def _queries(dashboard: dict[str, Any]) -> list[str]:
    variables = [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])] + variables


def _exported() -> set[str]:
    text = ServiceMetrics().text().decode()
    service = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    histograms = {
        f"{name}_{part}" for name in re.findall(r"^# TYPE (\S+) histogram", text, re.MULTILINE) for part in ("bucket", "sum", "count")
    }
    return OF_JOBS | service | histograms


def test_every_metric_of_the_dashboard_is_exported(dashboard: dict[str, Any]) -> None:
    """A renamed metric would leave an empty panel that nobody notices."""
    asked = {name for query in _queries(dashboard) for name in _WORD.findall(query)}
    assert len(asked) > 15 and asked <= _exported(), asked - _exported()


def test_every_gauge_of_jobs_is_shown(dashboard: dict[str, Any]) -> None:
    """What trainings and builds export stands in some panel."""
    asked = {name for query in _queries(dashboard) for name in _WORD.findall(query)}
    assert len(OF_JOBS) > 12 and asked >= OF_JOBS


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    """Each cell of Grafana's grid of 24 columns belongs to one panel, and ids are unique."""
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        p = panel["gridPos"]
        own = {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
        assert p["x"] + p["w"] <= 24 and not own & cells
        cells |= own
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
