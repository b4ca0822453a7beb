#!/usr/bin/env python
"""The rules of Prometheus as the resource that its operator reads: `python infra/prometheus/kubernetes.py` after a change of them."""

from pathlib import Path

RULES = Path(__file__).with_name("bfs.rules.yaml")
TARGET = RULES.parents[1] / "k8s" / "base" / "rules.yaml"
HEAD = """# Written by infra/prometheus/kubernetes.py from infra/prometheus/bfs.rules.yaml, where rules are changed and tested.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: bfs
  labels: {release: prometheus}
spec:
"""


def rendered() -> str:
    """The whole resource."""
    lines = RULES.read_text(encoding="utf-8").partition("\ngroups:")[2].splitlines()
    return HEAD + "  groups:" + "".join(f"  {line}".rstrip() + "\n" for line in lines).removeprefix("  ")


if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
