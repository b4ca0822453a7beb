"""What dashboards and rules ask Prometheus for."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

_WORD = re.compile(r"\b((?:ray|bfs|autoscaler)_[a-z0-9_]+)\b(?!\s*=)")
_RECORDED = re.compile(r"\b(bfs:[a-z0-9_]+:[a-z0-9_]+)\b")


def rules(root: Path) -> list[dict[str, Any]]:
    """All recording and alert rules."""
    text = (root / "infra/prometheus/bfs.rules.yaml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def dashboards(root: Path) -> dict[str, dict[str, Any]]:
    """The dashboards, by the name of their file."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted((root / "infra/grafana").glob("*.json"))}


def expressions(root: Path) -> list[str]:
    """Every expression, as Prometheus gets it: variables of a dashboard stand for anything."""
    shown = [t["expr"] for board in dashboards(root).values() for panel in board["panels"] for t in panel.get("targets", [])]
    return [*(rule["expr"] for rule in rules(root)), *(re.sub(r"\$\w+", ".*", text) for text in shown)]


def asked(root: Path) -> set[str]:
    """The names of the metrics that the expressions need."""
    return {name for text in expressions(root) for name in _WORD.findall(re.sub(r'"[^"]*"|by \([^)]*\)', "", text))}


def recorded(root: Path) -> tuple[set[str], set[str]]:
    """The names that rules record, and those that expressions ask for."""
    return {rule["record"] for rule in rules(root) if "record" in rule}, {n for text in expressions(root) for n in _RECORDED.findall(text)}
