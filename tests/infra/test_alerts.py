"""Rules and dashboards: they can be read, each alert is seen to fire, and leads to a page that exists."""

import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import FOLDER, tool
from metrics import dashboards, expressions, recorded, rules

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not there (package prometheus)")


def _promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def _alerts(root: Path) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules(root) if "alert" in rule}


@needs_promtool
def test_every_alert_fires_on_its_condition(repo_root: Path) -> None:
    """As the file of tests has it, where nothing fires in a good night either."""
    done = _promtool("test", "rules", repo_root / "infra/prometheus/bfs.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_operator_of_a_cluster_reads_the_same_rules(repo_root: Path) -> None:
    """`infra/prometheus/kubernetes.py` was run after the last change of them."""
    text = (repo_root / "infra/k8s/base/rules.yaml").read_text(encoding="utf-8")
    resource = yaml.safe_load(text)
    assert resource["spec"] == yaml.safe_load((repo_root / "infra/prometheus/bfs.rules.yaml").read_text(encoding="utf-8"))
    written = runpy.run_path(str(repo_root / "infra/prometheus/kubernetes.py"))["rendered"]()
    assert text == written and resource["kind"] == "PrometheusRule"


@pytest.mark.skipif(tool("kubectl") is None, reason="kubectl, which has kustomize, is not there; `make tools` brings it")
def test_a_setting_says_where_runbooks_are_read(repo_root: Path, tmp_path: Path) -> None:
    """`repository` in settings.yaml stands before every path, which is what the rules of one machine have, and in no cluster itself."""
    shutil.copytree(FOLDER, tmp_path / "k8s")
    settings = tmp_path / "k8s/base/settings.yaml"
    text = settings.read_text(encoding="utf-8")
    (address,) = [d["data"]["address"] for d in yaml.safe_load_all(text) if d["metadata"]["name"] == "repository"]
    settings.write_text(text.replace(address, "https://wiki.example.org/a/b"), encoding="utf-8")
    command = [str(tool("kubectl")), "kustomize", str(tmp_path / "k8s/overlays/laptop")]
    sent = list(yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout))
    (groups,) = [d["spec"]["groups"] for d in sent if d["kind"] == "PrometheusRule"]
    urls = {r["alert"]: r["annotations"]["runbook_url"] for group in groups for r in group["rules"] if "alert" in r}
    paths = {name: rule["annotations"]["runbook_url"] for name, rule in _alerts(repo_root).items()}
    assert urls == {name: f"https://wiki.example.org/a/b/{path}" for name, path in paths.items()}
    assert all(d["metadata"]["name"] != "repository" for d in sent)


@needs_promtool
def test_a_wrong_threshold_is_found(repo_root: Path, tmp_path: Path) -> None:
    """The same tests fail where an alert would come too late."""
    for name in ("bfs.rules.yaml", "bfs.test.yaml"):
        text = (repo_root / "infra/prometheus" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("bfs:disk_free:ratio < 0.05", "bfs:disk_free:ratio < 0.03"), encoding="utf-8")
    done = _promtool("test", "rules", tmp_path / "bfs.test.yaml")
    assert done.returncode != 0 and "DiskFull" in done.stdout + done.stderr


def test_no_alert_is_left_untested(repo_root: Path) -> None:
    """Each alert is expected to fire in one of the tests."""
    tests = yaml.safe_load((repo_root / "infra/prometheus/bfs.test.yaml").read_text(encoding="utf-8"))["tests"]
    expected = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert expected == set(_alerts(repo_root))


def test_every_alert_has_a_tier_and_a_page(repo_root: Path) -> None:
    """Somebody who is woken finds what to do; only what somebody must do at once wakes anybody."""
    for name, rule in _alerts(repo_root).items():
        assert rule["labels"]["severity"] in ("page", "ticket", "note"), name
        page = repo_root / rule["annotations"]["runbook_url"]
        assert page.is_file() and f"`{name}`" in page.read_text(encoding="utf-8"), name


def test_what_is_recorded_is_asked_for(repo_root: Path) -> None:
    """And the other way round."""
    made, wanted = recorded(repo_root)
    assert wanted <= made and made - wanted == {"bfs:generation_seconds:p95_10m"}, "that one is for people who ask by hand"


@needs_promtool
def test_every_expression_can_be_read(repo_root: Path, tmp_path: Path) -> None:
    """Of rules and of panels; one that cannot is found."""

    def check(texts: list[str]) -> int:
        group = {"name": "all", "rules": [{"record": f"x:{number}", "expr": text} for number, text in enumerate(texts)]}
        (tmp_path / "all.yaml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
        return _promtool("check", "rules", tmp_path / "all.yaml").returncode

    found = expressions(repo_root)
    assert len(found) > 40 and check(found) == 0 and check([*found, "sum by (le (rate(x[5m]))"]) != 0


def test_panels_lie_beside_each_other(repo_root: Path) -> None:
    """No two panels of a dashboard share a cell of Grafana's grid, or an id; dashboards have ids of their own."""
    boards = dashboards(repo_root)
    assert len({board["uid"] for board in boards.values()}) == len(boards) > 1
    for name, board in boards.items():
        cells: set[tuple[int, int]] = set()
        for p in (panel["gridPos"] for panel in board["panels"]):
            own = {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
            assert p["x"] + p["w"] <= 24 and not own & cells, name
            cells |= own
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]), name
