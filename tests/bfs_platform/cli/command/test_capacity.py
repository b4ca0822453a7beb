"""`bfs capacity --measured` beside a service that draws: its seconds are those that the service took."""

import io
import json
from pathlib import Path

import pytest
from live_service import answer, live_service
from PIL import Image

from bfs_platform.client import BFSClient

STEP_S, STEPS = 0.1, 5
RATE = ("capacity", "--requests-per-second", "10", "--p95", "1min", "--price", "1")


def test_a_running_service_says_how_long_it_draws(bfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing before it has drawn, nor what another server says; then what its steps take, counted over its jobs."""
    monkeypatch.delenv("BFS_API_KEY", raising=False)
    picture = io.BytesIO()
    Image.new("RGB", (48, 32), "gray").save(picture, "PNG")
    with live_service(tmp_path / "service", f"fake?step_s={STEP_S}") as service:
        measured = (*RATE, "--measured", f"{service.url}/metrics")
        early = bfs(*measured)
        assert early.exit_code == 2 and "has drawn nothing yet" in early.stderr
        with BFSClient(service.url) as client:
            for seed in range(3):
                client.draw(picture.getvalue(), (8, 4, 40, 28), "a ball", seed=seed, steps=STEPS)
        done = bfs(*measured, "--json")
        assert done.exit_code == 0, done.stderr
        service.faults[("GET", "/metrics")] = [answer(401, b'{"title": "no key"}', Content_Type="application/problem+json")]
        refused = bfs(*measured)
    plan = json.loads(done.stdout)
    assert STEP_S * STEPS <= plan["draw_s"] < 20 * STEP_S * STEPS and plan["variation"] >= 0
    assert plan["draw_seconds"].startswith(f"measured: 3 jobs of {service.url}/metrics, as of 20")
    assert refused.exit_code == 2 and "no key" in refused.stderr
