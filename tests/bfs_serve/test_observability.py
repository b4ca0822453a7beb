"""What can be seen of a running service from outside: a scrape, lines of the log, a trace; each through all of its processes."""

import contextlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from collector import Collector, collecting
from nodes import free_port
from prometheus_client.parser import text_string_to_metric_families

from bfs_serve.keys import hash_key

pytestmark = pytest.mark.ray

KEY, PROMPT = "sesame-open", "an unmistakable prompt"
FORM = {"box": "8,4,40,28", "prompt": PROMPT, "seed": "7", "steps": "3"}
TRACE = "ab" * 16
FAKE = ("--engine", "bfs_serve.model.fake:FakeEngine", "--model", "fake?step_s=0.05")
OF_A_TRIAL = "bfs_canary_share"  # there is none here; tests/bfs_serve/api/test_metrics.py shows it
OPTIONS = (*FAKE, "--max-replicas", "1", "--owner-max-stored-mib", "16", "--verbose")


@dataclass
class Seen:
    """A service that was asked a few things."""

    log: Path
    metrics: str
    collector: Collector
    job: dict[str, Any]

    def lines(self) -> list[dict[str, Any]]:
        """Those of the log that are ours; Ray puts the name of the process in front of each."""
        found = [line[line.index("{") :] for line in self.log.read_text().splitlines() if '"event"' in line]
        return [json.loads(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in found]


def _ask(client: httpx2.Client, make_png: Callable[..., bytes]) -> tuple[dict[str, Any], str]:
    """One of everything that is counted; returns the job and the scrape."""
    headers = {"Prefer": "wait=60", "X-Request-Id": "mine-1", "traceparent": f"00-{TRACE}-{'cd' * 8}-01"}
    drawn = client.post("/v1/layers", files={"background": make_png()}, data=FORM, headers=headers)
    assert drawn.status_code == 200 and drawn.headers["x-request-id"] == "mine-1", drawn.text[:500]
    for _ in range(2):
        assert client.get(f"{drawn.headers['location']}/result?format=ora").status_code == 200
    assert client.post("/v1/layers", files={"background": make_png(2400, 2400)}, data=FORM).status_code == 413
    assert client.get("/v1/models", headers={"Authorization": "Bearer sesame-shut"}).status_code == 401
    with client.stream("GET", f"{drawn.headers['location']}/events") as events:
        events.read()
    return drawn.json(), client.get("/metrics").text


@pytest.fixture(scope="module")
def seen(make_png: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A service that was started, asked, and stopped."""
    home, port = tmp_path_factory.mktemp("home"), free_port()
    (home / "keys").write_text(f"ann {hash_key(KEY)}\n")
    log = home / "log"
    with collecting() as collector, log.open("w") as stderr:
        ours = {"BFS_HOME": str(home), "BFS_API_KEYS_FILE": str(home / "keys"), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        command = [sys.executable, "-m", "bfs_serve", "--port", str(port), *OPTIONS]
        process = subprocess.Popen(command, env=os.environ | ours, stderr=stderr, stdout=stderr)
        try:
            _until(lambda: "ready http" in log.read_text() or process.poll() is not None, 300)
            assert process.poll() is None, log.read_text()[-3000:]
            with httpx2.Client(
                base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, headers={"Authorization": f"Bearer {KEY}"}
            ) as client:
                job, metrics = _ask(client, make_png)
            _until(lambda: bool(collector.named("attempt") and collector.named("POST /v1/layers")), 60)
            _until(lambda: '"ended"' in log.read_text(), 30)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(90)
            process.kill()
        yield Seen(log, metrics, collector, job)


def _until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)


def test_every_panel_of_the_service_shows_what_a_scrape_gives(seen: Seen, repo_root: Path) -> None:
    """Metrics by their names, with the labels that expressions sort by and legends name."""
    series: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(seen.metrics):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    panels = json.loads((repo_root / "infra" / "grafana" / "bfs.json").read_text())["panels"]
    targets = [target for panel in panels for target in panel.get("targets", []) if "ray_bfs_" not in target["expr"]]
    assert len(targets) > 20
    for target in (target for target in targets if OF_A_TRIAL not in target["expr"]):
        names = dict(re.findall(r"\b(bfs_\w+)(\{[^}]*\})?", target["expr"]))
        shown = {label.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")}
        shown |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        labels = {name: shown | set(re.findall(r"(\w+)=~?\"", own)) for name, own in names.items()}
        assert names and all(name in series and labels[name] <= series[name] for name in names), (target, {n: series.get(n) for n in names})


def test_a_scrape_knows_what_the_guard_saw(seen: Seen) -> None:
    """In another process, and of requests that never came further than there."""
    values = {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in io.StringIO(seen.metrics) if not line.startswith("#")}
    assert values['bfs_guard_refused_total{reason="unauthorized"}'].strip() == "1.0"
    assert values['bfs_requests_total{method="POST",route="/v1/layers",status="200"}'].strip() == "1.0"
    assert values['bfs_requests_total{method="GET",route="/v1/jobs/{job_id}/result",status="200"}'].strip() == "2.0"
    assert values['bfs_steps_total{version="fake-fake"}'].strip() == "3.0"


def test_one_id_leads_through_all_processes(seen: Seen) -> None:
    """From the guard to the ingress to the sampler and back; neither the key nor the prompt is in the log."""
    about = {line["event"] for line in seen.lines() if line.get("request_id") == "mine-1"}
    assert {"request", "accepted", "claimed", "ended"} <= about and seen.job["request_id"] == "mine-1"
    assert {line["job"] for line in seen.lines() if line["event"] == "ended"} == {seen.job["id"]}
    text = seen.log.read_text()
    assert "sesame" not in text and "unmistakable" not in text


def test_a_trace_goes_from_the_caller_to_the_steps(seen: Seen) -> None:
    """The guard's span is a part of the caller's, the ingress' of the guard's, the attempt of the ingress', its stages of the attempt."""
    mine = {span.name: span for span in seen.collector.spans if span.trace_id.hex() == TRACE}
    chain = ["POST /v1/layers", "ingress", "attempt"]
    assert mine[chain[0]].parent_span_id.hex() == "cd" * 8
    for parent, child in itertools.pairwise(chain):
        assert mine[child].parent_span_id == mine[parent].span_id
    for stage in ("load", "denoise", "decode", "encode"):
        assert mine[stage].parent_span_id == mine["attempt"].span_id
    denoising_s = (mine["denoise"].end_time_unix_nano - mine["denoise"].start_time_unix_nano) / 1e9
    assert 0.15 <= denoising_s < 30
