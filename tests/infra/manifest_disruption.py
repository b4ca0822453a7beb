"""What a drain of nodes may take, by the PodDisruptionBudgets."""

from collections.abc import Iterator

from manifests import Document, clusters, of_kind, title

from .manifest_placement import workers_at_rest

Pod = tuple[str, dict[str, str], int]


def disruption(documents: list[Document]) -> Iterator[str]:
    """Each pod of Ray stands under one budget: heads and workers of jobs never go, a worker of the service does where another stays.

    A service at rest has the workers that its ingress asks for: that number counts, not what it may grow to. And no worker may stand
    idle in a cluster that outlives its jobs: a drain would wait for it for ever.
    """
    budgets = {title(budget): budget["spec"] for budget in of_kind(documents, "PodDisruptionBudget")}
    stand: dict[str, list[Pod]] = {name: [] for name in budgets}
    for pod in ray_pods(documents):
        place, labels, _ = pod
        over = [name for name, spec in budgets.items() if _selects(spec["selector"], labels)]
        if len(over) == 1:
            stand[over[0]].append(pod)
        else:
            yield f"{place} stands under {' and '.join(over) or 'no budget'}: one is wanted, and of several none lets a pod go"
    at_rest = sum(map(workers_at_rest, of_kind(documents, "RayService")))
    for name, pods in stand.items():
        stay, most = budgets[name].get("minAvailable", 0), sum(number for _, _, number in pods)
        for place, labels, _ in pods:
            if labels.get("ray.io/serve") == "true":
                if not 0 < stay < at_rest:
                    yield f"{name} keeps {stay} of the {at_rest} workers at rest: the service goes, or a drain waits for ever"
            elif stay <= most:
                yield f"{name} keeps {stay} of up to {most} pods: a drain may take {place}"

    for place, cluster in clusters(documents):
        if place.startswith("RayCluster"):
            for group in cluster["workerGroupSpecs"]:
                if group["minReplicas"] or not cluster.get("enableInTreeAutoscaling"):
                    yield f"{place} {group['groupName']}: an idle worker stays, which no drain takes"


def ray_pods(documents: list[Document]) -> Iterator[Pod]:
    """Where each pod of a cluster stands, its labels with those that the operator adds, and how many of it there may be."""
    for place, cluster in clusters(documents):
        served = place.startswith("RayService")
        head = {"ray.io/node-type": "head"} | ({"ray.io/serve": "false"} if served else {})
        yield f"{place} head", _labels(cluster["headGroupSpec"]) | head, 1
        for group in cluster["workerGroupSpecs"]:
            worker = {"ray.io/node-type": "worker", "ray.io/group": group["groupName"]} | ({"ray.io/serve": "true"} if served else {})
            yield f"{place} {group['groupName']}", _labels(group) | worker, group["maxReplicas"]


def _labels(group: Document) -> dict[str, str]:
    return group["template"]["metadata"]["labels"]


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    tests = {
        "In": lambda e: labels.get(e["key"]) in e["values"],
        "NotIn": lambda e: labels.get(e["key"]) not in e["values"],
        "Exists": lambda e: e["key"] in labels,
        "DoesNotExist": lambda e: e["key"] not in labels,
    }
    fits = all(tests[expression["operator"]](expression) for expression in selector.get("matchExpressions", []))
    return fits and selector.get("matchLabels", {}).items() <= labels.items()
