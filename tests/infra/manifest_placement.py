"""Where the replicas of the service may stand: on workers, all of them."""

import math
from collections.abc import Iterator
from typing import Any

import yaml
from manifests import Document, of_kind, title

from bfs_serve.app import AppArgs, build

Needs = dict[str, float]


def placement(documents: list[Document]) -> Iterator[str]:
    """The head of a service takes no replica, be it alone there; a worker with its share of the ingress still takes each of them."""
    for document in of_kind(documents, "RayService"):
        spec = document["spec"]["rayClusterConfig"]
        ingress, sampler = _deployments(document)
        beside = {name: number * min(ingress.num_replicas, _per_node(ingress)) for name, number in _needs(ingress).items()}
        for deployment in (ingress, sampler):
            needs = _needs(deployment)
            if _fits(needs, _offered(spec["headGroupSpec"])):
                yield f"{title(document)} {deployment.name} may stand on the head, and is lost with it"
            more = beside if deployment is sampler else {}
            wanted = {name: needs.get(name, 0) + more.get(name, 0) for name in needs | more}
            if not any(_fits(wanted, _offered(group)) for group in spec["workerGroupSpecs"]):
                yield f"{title(document)} {deployment.name} has no place on a worker beside the ingress: it asks for {needs}"


def workers_at_rest(document: Document) -> int:
    """How many workers a RayService has at least, as replicas of its ingress keep apart."""
    ingress, _ = _deployments(document)
    return math.ceil(ingress.num_replicas / _per_node(ingress))


def _deployments(document: Document) -> tuple[Any, Any]:
    """The ingress and the sampler, as the service builds them."""
    (application,) = yaml.safe_load(document["spec"]["serveConfigV2"])["applications"]
    ingress = build(AppArgs.model_validate(application["args"]))._bound_deployment
    return ingress, ingress.init_args[-1]._bound_deployment


def _per_node(deployment: Any) -> int:
    return deployment._replica_config.max_replicas_per_node or deployment.num_replicas


def _needs(deployment: Any) -> Needs:
    return {name: deployment.ray_actor_options.get(name, 0) for name in ("num_cpus", "num_gpus")}


def _offered(group: Document) -> Needs:
    """What Ray counts with on a pod of a group: what it is told, or what the container asks for, in whole CPUs as the operator rounds."""
    resources = group["template"]["spec"]["containers"][0]["resources"]
    asked = resources["requests"] | resources.get("limits", {})
    cpus = group["rayStartParams"].get("num-cpus") or math.ceil(_number(asked["cpu"]))
    return {"num_cpus": float(cpus), "num_gpus": _number(asked.get("nvidia.com/gpu", "0"))}


def _number(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


def _fits(needs: Needs, offered: Needs) -> bool:
    return all(needs[name] <= offered[name] for name in needs)
