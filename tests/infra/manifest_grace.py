"""How long a pod that is told to go may take for what it answers."""

from collections.abc import Iterator

import yaml
from manifests import Document, clusters, of_kind, title
from ray._private import ray_constants

from bfs_serve.api.endpoint.layers import LONGEST_WAIT_S
from bfs_serve.app import AppArgs
from bfs_serve.runtime import REQUEST_TIMEOUT_S

DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"  # how long Ray drains a node after SIGTERM before it kills what is left
_DEFAULT_S = getattr(ray_constants, DRAIN)


def grace(documents: list[Document]) -> Iterator[str]:
    """The longest request is over before Ray ends its drain, and that before Kubernetes kills the pod."""
    settings = {d["metadata"]["name"]: d["data"] for d in of_kind(documents, "ConfigMap") if "data" in d}
    for place, cluster in clusters(documents):
        groups = [("head", cluster["headGroupSpec"]), *((g["groupName"], g) for g in cluster["workerGroupSpecs"])]
        for name, group in groups:
            spec = group["template"]["spec"]
            told = _told(spec["containers"][0], settings)
            drain_s, killed_s = float(told.get(DRAIN, _DEFAULT_S)), spec.get("terminationGracePeriodSeconds", 30)
            if drain_s <= REQUEST_TIMEOUT_S:
                yield f"{place} {name} drains for {drain_s:g} s, and a request may take {REQUEST_TIMEOUT_S:g} s"
            if killed_s <= drain_s:
                yield f"{place} {name} is killed after {killed_s} s, before its drain of {drain_s:g} s is over"
    for document in of_kind(documents, "RayService"):
        (application,) = yaml.safe_load(document["spec"]["serveConfigV2"])["applications"]
        grace_s = AppArgs.model_validate(application["args"]).ingress_grace_s
        if grace_s <= LONGEST_WAIT_S:
            yield f"{title(document)} ingress goes after {grace_s:g} s, and a request may be waited for {LONGEST_WAIT_S:g} s"


def _told(container: Document, settings: dict[str, dict[str, str]]) -> dict[str, str]:
    """The variables of a container that are no secrets."""
    sources = [source["configMapRef"]["name"] for source in container.get("envFrom", []) if "configMapRef" in source]
    told = {name: value for source in sources for name, value in settings.get(source, {}).items()}
    return told | {variable["name"]: variable["value"] for variable in container.get("env", []) if "value" in variable}
