"""The alias of a real MLflow registry moves while requests run: forth, to a model that cannot be loaded, and back."""

import time
from pathlib import Path

import httpx2
import pytest
from drawn_by import WITHIN_S, Requests
from registry_engine import BROKEN, write_model
from storm_service import StormService

pytestmark = pytest.mark.soak

OPTIONS = ("--min-replicas", "2", "--max-replicas", "2", "--ingress-replicas", "2", "--follow-s", "1", "--rate", "")


def test_promotion_fails_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are drawn by the new version before long. One that cannot be loaded is named, and the old one stays."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("BFS_HOME", str(tmp_path))
    from bfs_platform.registry.promote import promote, rollback

    def promoted(number: float) -> str:
        folder = write_model(tmp_path / f"model{number:g}", number)
        told = promote(str(folder), smoke=lambda folder, spec: "nothing is drawn before it is served")
        assert told["promoted"], told
        return str(told["content_hash"])

    promoted(1.0)
    with StormService(tmp_path, *OPTIONS, engine="registry_engine:RegistryEngine", model="models:/bfs@champion") as service:
        with Requests(service.url) as requests, httpx2.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            requests.until_all_by(1.0)
            promoted(2.0)
            requests.until_all_by(2.0)
            broken = promoted(BROKEN)
            deadline = time.monotonic() + WITHIN_S
            while broken not in client.get("/v1/models").json()["models"][0]["failed"]:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            requests.until_all_by(2.0)
            rollback(to="1")
            assert requests.until_all_by(1.0) < 60
        assert service.stop() == 0
    assert requests.failures == []
