"""What manifests name is there: secrets, settings, volumes, claims, accounts, hosts, ports, pods; each rule says what is not."""

import re
from collections.abc import Iterator

import yaml
from manifests import FOLDER, Document, containers, of_kind, templates, title

_OUR_HOST = re.compile(r"(?:https?|postgresql(?:\+\w+)?)://(?:[\w-]+@)?([a-z][\w.-]*)(?::(\d+))?")
# What Kubernetes and the operator bring into a namespace by themselves.
_GIVEN = {("Service", "bfs-serve-svc"), ("ServiceAccount", "default")}


def references(documents: list[Document]) -> Iterator[str]:
    """Secrets, settings, volumes, claims, accounts and hosts that a pod names are there."""
    secrets = yaml.safe_load((FOLDER / "secrets.yaml").read_text(encoding="utf-8"))
    present = {(d["kind"], d["metadata"]["name"]) for d in documents} | _GIVEN
    for place, template in templates(documents):
        spec = template["spec"]
        for name, key in _secrets_of(template):
            if name not in secrets or key not in (None, *secrets[name]):
                yield f"{place} wants the secret {name}, key {key}, which infra/k8s/secrets.yaml does not list"
        wanted = [
            ("ConfigMap", e["configMapRef"]["name"]) for c in containers(template) for e in c.get("envFrom", []) if "configMapRef" in e
        ]
        wanted += [("ConfigMap", v["configMap"]["name"]) for v in spec.get("volumes", []) if "configMap" in v]
        claims = [v["persistentVolumeClaim"]["claimName"] for v in spec.get("volumes", []) if "persistentVolumeClaim" in v]
        wanted += [("PersistentVolumeClaim", claim) for claim in claims]
        wanted += [("ServiceAccount", spec.get("serviceAccountName", "default"))]
        yield from (f"{place} wants the {kind} {name}, which is not there" for kind, name in wanted if (kind, name) not in present)
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounted = {mount["name"] for container in containers(template) for mount in container.get("volumeMounts", [])}
        yield from (f"{place} mounts {name}, which is no volume of it" for name in mounted - volumes)
        yield from (f"{place} has the volume {name}, which nothing mounts" for name in volumes - mounted)


def _secrets_of(template: Document) -> Iterator[tuple[str, str | None]]:
    for container in containers(template):
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
    for volume in template["spec"].get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"], None


def hosts(documents: list[Document]) -> Iterator[str]:
    """Each address inside the namespace is that of a Service, and where we know its ports, of one of them."""
    services = {d["metadata"]["name"]: [p["port"] for p in d["spec"].get("ports", [])] for d in of_kind(documents, "Service")}
    for document in documents:
        for host, port in _OUR_HOST.findall(yaml.safe_dump(document, width=10_000)):
            name, _, rest = host.partition(".")
            if rest not in ("", "bfs", "bfs.svc", "bfs.svc.cluster.local"):
                continue
            if name not in services:
                yield f"{title(document)} speaks to {host}, which is no Service here"
            elif services[name] and int(port or 0) not in services[name]:
                yield f"{title(document)} speaks to port {port or 'none'} of {host}, which has {services[name]}"


def ports(documents: list[Document]) -> Iterator[str]:
    """Services, probes and monitors name ports that a container has."""
    found = [
        (place, t, {p["name"]: p["containerPort"] for c in containers(t) for p in c.get("ports", [])}) for place, t in templates(documents)
    ]
    for place, template, own in found:
        for container in containers(template):
            probes = [
                container[name]["httpGet"]["port"] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container
            ]
            yield from (f"{place} is probed at the port {port}, which it does not have" for port in probes if port not in own)
    for service in of_kind(documents, "Service"):
        if "selector" in service["spec"]:
            backed = [own for _, t, own in found if _selects(service["spec"]["selector"], t)]
            wanted = [port.get("targetPort", port["port"]) for port in service["spec"]["ports"]]
            yield from (
                f"{title(service)} leads to {p}, which no pod has" for p in wanted if not any(p in (*o, *o.values()) for o in backed)
            )
    for monitor in of_kind(documents, "PodMonitor"):
        backed = [own for _, t, own in found if _selects(monitor["spec"]["selector"]["matchLabels"], t)]
        wanted = [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]]
        yield from (f"{title(monitor)} scrapes {p}, which no pod has" for p in wanted if not any(p in own for own in backed))


def selectors(documents: list[Document]) -> Iterator[str]:
    """What selects pods selects some."""
    for document in of_kind(documents, "PodDisruptionBudget", "NetworkPolicy"):
        spec = document["spec"]
        wanted = (spec.get("selector") or spec.get("podSelector") or {}).get("matchLabels", {})
        known = {label: value for label, value in wanted.items() if not label.startswith("ray.io/")}  # those the operator sets
        if not any(_selects(known, template) for _, template in templates(documents)):
            yield f"{title(document)} selects no pod"


def _selects(labels: dict[str, str], template: Document) -> bool:
    return labels.items() <= template.get("metadata", {}).get("labels", {}).items()
