"""Our Kubernetes manifests as a cluster would get them, and what there is to look at in them."""

import copy
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "k8s"
OVERLAYS = tuple(path.parent.relative_to(FOLDER / "overlays").as_posix() for path in sorted(FOLDER.glob("overlays/**/kustomization.yaml")))
Document = dict[str, Any]
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was compiled
# Where a document keeps a cluster of Ray.
CLUSTER_SPECS = {"RayCluster": "spec", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}


def tool(name: str) -> str | None:
    """A program that `make tools` brings, or that is installed anyway."""
    brought = ROOT / "build" / "tools" / "bin" / name
    return str(brought) if brought.exists() else shutil.which(name)


def schemas() -> Path:
    """Where the schemas of the operator's resources lie."""
    return Path(os.environ.get("BFS_KUBERAY_SCHEMAS") or ROOT.parent / "shared" / "kuberay")


def committed() -> list[Document]:
    """The documents as they are written, and without what overlays change; jobs and service with the cluster, as one-cluster has it.

    For where no kustomize is. Lists of patches and of secrets are no documents, nor is what is laid over all jobs.
    """
    found: list[Document] = []
    for path in sorted(FOLDER.rglob("*.yaml")):
        found += [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(d, dict) and "kind" in d]
    found = [d for d in found if d["kind"] not in ("Kustomization", "Component") and d["metadata"]["name"] != "any"]
    (cluster,) = of_kind(found, "RayCluster")
    for document in of_kind(found, "RayJob", "RayService"):
        document["spec"][CLUSTER_SPECS[document["kind"]]] = copy.deepcopy(cluster["spec"])
    return found


@cache
def _rendered(overlay: str) -> str:
    command = [str(tool("kubectl")), "kustomize", str(FOLDER / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(overlay: str) -> list[Document]:
    """What `kubectl apply -k` of an overlay sends."""
    return copy.deepcopy(list(yaml.load_all(_rendered(overlay), _LOADER)))


def title(document: Document) -> str:
    """Kind and name."""
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    """Those of some kinds."""
    return [document for document in documents if document["kind"] in kinds]


def clusters(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Each cluster of Ray, by the document that holds it."""
    for document in of_kind(documents, *CLUSTER_SPECS):
        name = CLUSTER_SPECS[document["kind"]]
        found = document["spec"] if name == "spec" else document["spec"].get(name)
        if found:
            yield title(document), found


def templates(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Each template of a pod, by where it stands."""
    for place, cluster in clusters(documents):
        yield f"{place} head", cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield f"{place} {group['groupName']}", group["template"]
    for document in documents:
        if template := document.get("spec", {}).get("submitterPodTemplate"):
            yield f"{title(document)} submitter", template
    for document in of_kind(documents, "Deployment", "Job", "StatefulSet"):
        yield title(document), document["spec"]["template"]
    for document in of_kind(documents, "CronJob"):
        yield title(document), document["spec"]["jobTemplate"]["spec"]["template"]


def containers(template: Document) -> list[Document]:
    """All of a pod, those that run first included."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]
