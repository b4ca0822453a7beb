"""Candidates of a real registry are tried by a real service while people ask: bad ones go by themselves, a good one becomes champion."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from drawn_by import Requests
from live_service import live_service
from registry_engine import RAISES, SLOW, write_model
from storm_service import StormService

from bfs_platform.registry.canary import CANDIDATE
from bfs_platform.registry.promote import promote, rollback
from bfs_platform.registry.spec import CanarySpec, PromotionSpec
from bfs_platform.registry.store import Registry

OPTIONS = ("--min-replicas", "2", "--max-replicas", "2", "--follow-s", "1", "--rate", "")
# A slow machine makes pictures slow, of both alike and now and then of one: only many times slower is slow here.
SPEC = PromotionSpec(canary=CanarySpec(share=0.4, watch_s=0, min_jobs=8, may_take=8))
MODEL, ENGINE = "models:/bfs@champion", "registry_engine:RegistryEngine"
_WITHIN_S = 300.0
Promote = Callable[[float, PromotionSpec | None], str]


def _aliased(alias: str) -> str | None:
    return Registry.open().aliased("bfs", alias)


def _over(client: httpx2.Client, version: str) -> dict[str, Any]:
    """What `/v1/models` says of the trial of a version when it is over."""
    deadline = time.monotonic() + _WITHIN_S
    while True:
        found = client.get("/v1/models").json()["models"][0]["candidate"]
        if found and found["version"] == version and found["state"] != "tried" and _aliased(CANDIDATE) is None:
            return dict(found)
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Promote:
    """A registry with a first champion; promotes other models."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("BFS_HOME", str(tmp_path))

    def promoted(number: float, spec: PromotionSpec | None) -> str:
        folder = write_model(tmp_path / f"model{number:g}", number)
        told = promote(str(folder), spec=spec, smoke=lambda folder, spec: "nothing is drawn before it is served")
        assert told["promoted"], told
        return str(told["content_hash"])

    promoted(1.0, None)
    return promoted


def _the_night(url: str, promoted: Promote) -> None:
    """Whoever asks while candidates come and go gets a picture."""
    with Requests(url) as requests, httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        requests.until_all_by(1.0)
        raised = _over(client, promoted(RAISES, SPEC))
        assert raised["state"] == "taken-back" and "jobs failed, of the champion 0 of" in raised["reason"]
        slow = _over(client, promoted(SLOW, SPEC))
        assert slow["state"] == "taken-back" and "for a picture, the champion" in slow["reason"]
        assert _aliased("champion") == "1" and slow["share"] == raised["share"] == 0
        good = promoted(2.0, SPEC)
        requests.until_all_by(2.0)
        assert _over(client, good)["state"] == "promoted" and _aliased("champion") == "4"
        shown = client.get("/metrics").text
        assert f'bfs_version_jobs_total{{outcome="succeeded",version="{good[:12]}"}}' in shown and "bfs_canary_share" in shown
        assert "bfs_canary_taken_back_timestamp_seconds" in shown
        rollback()
        requests.until_all_by(1.0)
    assert requests.failures == [] and len(requests.drawn) > 40


def test_a_candidate_cannot_break_the_night(tmp_path: Path, registry: Promote) -> None:
    """One raises, one is slow: each is taken back by itself, and whoever asked got a picture of the champion. A good one becomes champion
    by itself, and a rollback reaches the service like any other move."""
    with live_service(tmp_path, MODEL, ENGINE, follow_s=0.5) as service:
        _the_night(service.url, registry)


@pytest.mark.soak
def test_nor_on_a_cluster(tmp_path: Path, registry: Promote) -> None:
    """The same, of two samplers on Ray Serve."""
    with StormService(tmp_path, *OPTIONS, engine=ENGINE, model=MODEL) as service:
        _the_night(service.url, registry)
        assert service.stop() == 0
