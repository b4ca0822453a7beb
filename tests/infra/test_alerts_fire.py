"""Alerts on a running Prometheus, which scrapes planted conditions: each is seen to fire, and none where all is well."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from metrics import rules
from nodes import free_port
from planted import Exporter, in_trouble

PROMETHEUS = shutil.which("prometheus")
_SPAN = "5s"
_LIMIT_S = 120.0  # for a machine that is very busy; otherwise half a minute is enough for all

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not there (package prometheus)")


def _hurried(text: str) -> str:
    """The rules with every span of time, be it minutes or hours, five seconds long; `promtool test rules` has the true ones."""
    groups = yaml.safe_load(text)["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        rule["expr"] = re.sub(r"(?<=\[)\w+(?=\])|(?<=offset )\w+", _SPAN, rule["expr"])
        if "for" in rule:
            rule["for"] = "1s"
    return yaml.safe_dump({"groups": groups})


class Prometheus:
    """A running one, asked over its API."""

    def __init__(self, client: httpx2.Client, process: subprocess.Popen[bytes], log: Path) -> None:
        self._client, self._process, self._log = client, process, log

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire now, by name."""
        found = self._client.get("/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in found if alert["state"] == "firing"}

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds."""
        limit = time.monotonic() + _LIMIT_S
        while not self._holds(condition):
            assert self._process.poll() is None and time.monotonic() < limit, self._log.read_text()[-4000:]
            time.sleep(0.2)

    def is_up(self) -> bool:
        """Whether what it scrapes answered."""
        found = self._client.get("/api/v1/query", params={"query": "up"}).raise_for_status().json()["data"]["result"]
        return [sample["value"][1] for sample in found] == ["1"]

    def _holds(self, condition: Callable[[], object]) -> bool:
        try:
            return bool(condition())
        except httpx2.HTTPError:  # not ready yet
            return False


@contextmanager
def _prometheus(folder: Path, rule_file: str, target: str) -> Iterator[Prometheus]:
    (folder / "hurried.rules.yaml").write_text(_hurried(rule_file), encoding="utf-8")
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["hurried.rules.yaml"],
        "scrape_configs": [{"job_name": "planted", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    address, log = f"127.0.0.1:{free_port()}", folder / "log"
    places = (f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}")
    command = [str(PROMETHEUS), *places, f"--web.listen-address={address}"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with httpx2.Client(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
                yield Prometheus(client, process, log)
        finally:
            process.kill()


def test_every_alert_is_seen_to_fire(repo_root: Path, tmp_path: Path) -> None:
    """Silence while all is well; then what can go wrong does, and at last who showed it is gone. Each leads to its page."""
    seen: dict[str, dict[str, Any]] = {}
    expected = {rule["alert"]: rule for rule in rules(repo_root) if "alert" in rule}
    absent = {name for name, rule in expected.items() if rule["expr"].startswith("absent(")}
    text = (repo_root / "infra/prometheus/bfs.rules.yaml").read_text(encoding="utf-8")

    def all_of(names: set[str]) -> bool:
        for name, alert in prometheus.firing().items():
            seen.setdefault(name, alert)
        return names <= seen.keys()

    with Exporter() as shown, _prometheus(tmp_path, text, shown.address) as prometheus:
        prometheus.until(lambda: prometheus.is_up() and not prometheus.firing())
        time.sleep(5)  # as long as any rule looks back
        assert prometheus.firing().keys() - absent == set(), "those may fire for a moment on a machine that is very busy"
        shown.show(in_trouble(time.time()))
        prometheus.until(lambda: all_of(expected.keys() - absent | {"HeadLost"}))  # of one cluster, while the head of another shows
        shown.leave()
        prometheus.until(lambda: all_of(absent) and absent <= prometheus.firing().keys())

    assert seen.keys() == expected.keys() and len(absent) == 2
    for name, alert in seen.items():
        assert alert["labels"]["severity"] == expected[name]["labels"]["severity"], name
        said, page = alert["annotations"]["summary"], repo_root / alert["annotations"]["runbook_url"]
        assert "error" not in said and "{{" not in said and page.is_file() and f"`{name}`" in page.read_text(encoding="utf-8"), name
