"""Who may reach whom, by the NetworkPolicies: what they open is what is meant, no less and no more."""

import json
from collections.abc import Iterator
from typing import Any

from manifests import Document, containers, of_kind, templates, title

EVERY_PORT, ANYONE = "every port", "anyone"
_RAY = "pods app.kubernetes.io/part-of=bfs"
_MONITORING = "namespace monitoring"
Ports = set[int | str]
Opened = dict[str, dict[str, Ports]]

# By direction and pods: the others, and the ports that are open between them.
_OUT: dict[str, Ports] = {ANYONE: {53, "53/UDP", 443, 5000, 5432, 6379, 6443, 8333}}
MEANT: dict[str, Opened] = {
    "Ingress": {
        "ray": {
            _RAY: {EVERY_PORT},
            "namespace kuberay-operator": {8265, 52365, 8000},
            "namespace ingress": {8000},
            _MONITORING: {8080, 44217, 44227, 8000},
        },
        "mlflow": {_RAY: {5000}, "pods app.kubernetes.io/name=mlflow-gc": {5000}},
        "mlflow-gc": {},
    },
    "Egress": {"ray": {_RAY: {EVERY_PORT}} | _OUT, "mlflow": _OUT, "mlflow-gc": _OUT},
}
_SAID = {"Ingress": ("is open to", "is closed to"), "Egress": ("reaches", "does not reach")}


def network(documents: list[Document]) -> Iterator[str]:
    """What the policies open is what is meant; and what is scraped can be reached by who scrapes it."""
    for direction in MEANT:
        found = opened(documents, direction)
        for group, others in found.items():
            meant = MEANT[direction].get(group, {})
            for other in sorted({*meant, *others}):
                yield from _compared(direction, group, other, others.get(other, set()), meant.get(other, set()))
    scrapers = opened(documents, "Ingress").get("ray", {}).get(_MONITORING, set())
    for monitor in of_kind(documents, "PodMonitor"):
        scraped = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        ports = {port["containerPort"] for port in _container_ports(documents) if port["name"] in scraped}
        yield from (f"{title(monitor)} scrapes port {port}, which no policy opens to {_MONITORING}" for port in sorted(ports - scrapers))


def _compared(direction: str, group: str, other: str, found: Ports, meant: Ports) -> Iterator[str]:
    more, less = _SAID[direction]
    if EVERY_PORT not in meant and found - meant:
        yield f"{group} {more} {other} on {_listed(found - meant)}, which is not meant"
    if EVERY_PORT not in found and meant - found:
        yield f"{group} {less} {other} on {_listed(meant - found)}"


def _container_ports(documents: list[Document]) -> Iterator[Document]:
    for _, template in templates(documents):
        for container in containers(template):
            yield from container.get("ports", [])


def _listed(ports: Ports) -> str:
    return ", ".join(sorted(map(str, ports)))


def opened(documents: list[Document], direction: str) -> Opened:
    """What the policies open to each group of pods, by who is at the other end. Pods that none selects are open to anyone."""
    pods = [template["metadata"].get("labels", {}) for _, template in templates(documents)]
    found: Opened = {}
    for policy in of_kind(documents, "NetworkPolicy"):
        spec = policy["spec"]
        if direction not in spec.get("policyTypes", ["Ingress", *(["Egress"] if "egress" in spec else [])]):
            continue
        for group in {_group(labels) for labels in pods if _selects(spec["podSelector"], labels)}:
            others = found.setdefault(group, {})
            for rule in spec.get(direction.lower()) or []:
                ports: Ports = {_port(port) for port in rule.get("ports") or [{}]}
                for other in _ends(rule.get("from" if direction == "Ingress" else "to")):
                    others.setdefault(other, set()).update(ports)
    return {_group(labels): {ANYONE: {EVERY_PORT}} for labels in pods} | found


def _group(labels: dict[str, str]) -> str:
    return "ray" if labels.get("app.kubernetes.io/part-of") == "bfs" else labels.get("app.kubernetes.io/name", "pods without a name")


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, f"{selector} is more than labels, which is not understood here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def _ends(ends: list[Document] | None) -> Iterator[str]:
    """Who is meant by `from` or `to`, as `MEANT` names it; what it has no name for stays as it is written."""
    for end in ends or [{}]:
        labels = [*next(iter(end.values()), {}).get("matchLabels", {}).items()] if len(end) == 1 else []
        if not end:
            yield ANYONE
        elif "podSelector" in end and len(labels) == 1:
            yield "pods {}={}".format(*labels[0])
        elif "namespaceSelector" in end and [key for key, _ in labels] == ["kubernetes.io/metadata.name"]:
            yield f"namespace {labels[0][1]}"
        else:
            yield json.dumps(end)


def _port(port: dict[str, Any]) -> int | str:
    if "port" not in port:
        return EVERY_PORT
    if "endPort" in port:
        return f"{port['port']}-{port['endPort']}"
    return port["port"] if port.get("protocol", "TCP") == "TCP" else f"{port['port']}/{port['protocol']}"
