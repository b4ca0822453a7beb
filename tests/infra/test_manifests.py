"""The Kubernetes manifests: what they say holds, and a rule for each kind of mistake, which is seen to find it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import manifest_references as links
import manifest_rules as rules
import pytest
import yaml
from manifests import OVERLAYS, ROOT, Document, clusters, committed, of_kind, rendered, schemas, templates, title, tool

needs_kustomize = pytest.mark.skipif(tool("kubectl") is None, reason="kubectl, which has kustomize, is not there; `make tools` brings it")
# Raised while Ray's own modules are imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def _schema(documents: list[Document]) -> Iterator[str]:
    if not (schemas() / "RayCluster_v1.json").exists():
        pytest.skip("the operator's schemas are not there; BFS_KUBERAY_SCHEMAS names their folder")
    return rules.schema(documents, schemas())


@cache
def _options_of(program: tuple[str, ...]) -> set[str]:
    """The options that a program prints when it is asked for help."""
    if program[0] == "mlflow":
        command = [sys.executable, "-m", *program]
    elif program[1].startswith("jobs/") and not (ROOT / program[1]).exists():
        raise FileNotFoundError(program[1])
    else:
        command = [sys.executable, *program[1:]]
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise FileNotFoundError(" ".join(program))
    return set(re.findall(r"--[a-z][\w-]*", done.stdout))


def _commands(documents: list[Document]) -> Iterator[str]:
    return rules.commands(documents, _options_of)


RULES: dict[str, Callable[[list[Document]], Iterator[str]]] = {
    "schema": _schema,
    "operator": rules.operator,
    "serve": rules.serve,
    "references": links.references,
    "hosts": links.hosts,
    "ports": links.ports,
    "selectors": links.selectors,
    "images": rules.images,
    "privileges": rules.privileges,
    "commands": _commands,
}


@needs_kustomize
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_the_rules(overlay: str, rule: str) -> None:
    """What an overlay sends to a cluster, looked at by each rule."""
    documents = rendered(overlay)
    if rule == "references":  # jobs come into a namespace where the platform is
        documents += rendered(overlay.removesuffix("/jobs"))
    assert len(documents) > 5 and list(RULES[rule](documents)) == []


@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"images"}))
def test_what_is_committed_keeps_the_rules(rule: str) -> None:
    """The documents as they are written, for which no kustomize is needed."""
    documents = committed()
    assert len(documents) > 20 and list(RULES[rule](documents)) == []


def _invalid(documents: list[Document], folder: Path) -> str:
    """What the published schemas of Kubernetes say about documents, strictly; empty where all is well."""
    path = folder / "documents.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    command = [str(tool("kubernetes-validate")), "--strict", "--quiet", "--kubernetes-version", "1.33", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@needs_kustomize
@pytest.mark.skipif(tool("kubernetes-validate") is None, reason="kubernetes-validate is not there; `make tools` brings it")
def test_core_documents_are_those_of_kubernetes(tmp_path: Path) -> None:
    """Every document that is Kubernetes' own, and every pod of the operator's; a misspelt field is found."""
    documents = [d for overlay in OVERLAYS for d in rendered(overlay)]
    core = [d for d in documents if not re.search(r"ray\.io|coreos", d["apiVersion"])]
    pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": t["spec"]} for _, t in templates(documents)]
    unique = list({json.dumps(d, sort_keys=True): d for d in [*core, *pods]}.values())
    assert len(unique) > 20 and _invalid(unique, tmp_path) == ""
    for at, name in ((unique[-1]["spec"]["containers"][0], "imagee"), (of_kind(unique, "Deployment")[0]["spec"], "replica")):
        at[name] = "x"
        assert name in _invalid(unique, tmp_path)
        del at[name]


@needs_kustomize
def test_all_clusters_of_an_overlay_are_one() -> None:
    """Each job and the service get the spec of the overlay's cluster, whole."""
    for overlay in OVERLAYS:
        found = dict(clusters(rendered(overlay)))
        assert len(found) > 1 and all(spec == found["RayCluster/bfs"] for spec in found.values())


@needs_kustomize
def test_every_listed_secret_is_used_by_production() -> None:
    """A secret that nothing names would be made for nothing."""
    text = str([*rendered("production"), *rendered("production/jobs")])
    listed = [line.partition(":")[0] for line in (ROOT / "infra/k8s/secrets.yaml").read_text().splitlines() if line and line[0] != "#"]
    assert listed and [name for name in listed if f"'{name}'" not in text] == []


def _service(documents: list[Document]) -> Document:
    return of_kind(documents, "RayService")[0]["spec"]


def _cluster(documents: list[Document]) -> Document:
    return of_kind(documents, "RayCluster")[0]["spec"]


def _head(documents: list[Document]) -> Document:
    return _cluster(documents)["headGroupSpec"]["template"]["spec"]


def _mlflow(documents: list[Document]) -> Document:
    return next(d for d in documents if title(d) == "Deployment/mlflow")["spec"]["template"]["spec"]["containers"][0]


def _job(documents: list[Document]) -> Document:
    return next(job for job in of_kind(documents, "RayJob") if job["metadata"]["name"] == "build-stage1")


def _put(at: Callable[[list[Document]], Any], key: Any, value: Any) -> Callable[[list[Document]], None]:
    def change(documents: list[Document]) -> None:
        at(documents)[key] = value

    return change


def _said(key: str, old: str, new: str) -> Callable[[list[Document]], None]:
    """A change inside the service's configuration or a job's command."""

    def change(documents: list[Document]) -> None:
        spec = _service(documents) if key == "serveConfigV2" else _job(documents)["spec"]
        assert old in spec[key]
        spec[key] = spec[key].replace(old, new)

    return change


def _kind(kind: str) -> Callable[[list[Document]], Any]:
    return lambda documents: of_kind(documents, kind)[0]


FAULTS: list[tuple[str, str, Callable[[list[Document]], None], str]] = [
    ("schema", "gpu", _put(_cluster, "enableInTreeAutoscalling", True), "enableInTreeAutoscalling"),
    ("schema", "gpu", _put(lambda d: _cluster(d)["workerGroupSpecs"][0], "minReplicas", "one"), "'one' is not of type 'integer'"),
    ("schema", "production", _put(lambda d: _cluster(d)["gcsFaultToleranceOptions"], "backend", "etcd"), "'etcd' is not one of"),
    ("operator", "gpu", _put(lambda d: _kind("RayService")(d)["metadata"], "name", "b" * 48), "no name that the operator takes"),
    ("operator", "gpu", _put(lambda d: _service(d)["upgradeStrategy"], "type", "Recreate"), "upgradeStrategy.type=Recreate"),
    ("operator", "gpu", _put(_head, "restartPolicy", "Always"), "restarts its pods"),
    ("operator", "gpu", _put(_head, "terminationGracePeriodSeconds", 30), "is killed before"),
    ("operator", "gpu", _put(_cluster, "authOptions", {"mode": "token"}), "a token that changes"),
    ("operator", "gpu", _put(_cluster, "rayVersion", "2.9.0"), "rayVersion is 2.9.0"),
    ("operator", "gpu", _put(lambda d: _kind("PodDisruptionBudget")(d)["spec"], "minAvailable", "50%"), "a whole minAvailable"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "submissionMode", "SidecarMode"), "SidecarMode forbids"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "shutdownAfterJobFinishes", True), "has both"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "activeDeadlineSeconds", 0), "may run, and cost, for ever"),
    ("serve", "gpu", _said("serveConfigV2", "import_path", "importpath"), "serveConfigV2"),
    ("serve", "gpu", _said("serveConfigV2", "max_replicas", "max_replica"), "max_replica"),
    ("serve", "gpu", _said("serveConfigV2", "port: 8000", "port: 8001"), "is not what bfs_serve.config renders"),
    ("references", "gpu", _put(lambda d: _mlflow(d)["env"][0]["valueFrom"]["secretKeyRef"], "key", "passwort"), "key passwort"),
    ("references", "gpu", _put(lambda d: _mlflow(d)["envFrom"][0]["configMapRef"], "name", "bfs"), "wants the ConfigMap bfs"),
    ("references", "gpu", _put(lambda d: _mlflow(d)["volumeMounts"][0], "name", "scrach"), "mounts scrach"),
    ("references", "gpu", _put(_head, "serviceAccountName", "ray"), "wants the ServiceAccount ray"),
    ("references", "gpu", _put(lambda d: _kind("PersistentVolumeClaim")(d)["metadata"], "name", "data"), "PersistentVolumeClaim bfs-data"),
    ("hosts", "gpu", _put(lambda d: _kind("ConfigMap")(d)["data"], "MLFLOW_TRACKING_URI", "http://mlfow:5000"), "speaks to mlfow"),
    ("hosts", "gpu", _put(lambda d: _kind("ConfigMap")(d)["data"], "MLFLOW_TRACKING_URI", "http://mlflow:5001"), "port 5001 of mlflow"),
    ("ports", "gpu", _put(lambda d: _mlflow(d)["ports"][0], "name", "web"), "probed at the port http"),
    ("ports", "gpu", _put(lambda d: _kind("PodMonitor")(d)["spec"]["podMetricsEndpoints"][0], "port", "metric"), "scrapes metric"),
    ("selectors", "gpu", _put(_kind("PodDisruptionBudget"), "spec", {"selector": {"matchLabels": {"app": "x"}}}), "selects no pod"),
    ("images", "gpu", _put(lambda d: _head(d)["containers"][0], "image", "registry.example.com/bfs:latest"), "no image of this version"),
    ("privileges", "gpu", _put(_head, "securityContext", {}), "may run as root"),
    ("privileges", "gpu", _put(lambda d: _mlflow(d), "securityContext", {"privileged": True}), "may do more than it needs"),
    ("privileges", "gpu", _put(lambda d: _mlflow(d), "resources", {}), "does not say what it needs"),
    ("commands", "gpu/jobs", _said("entrypoint", "--recipe", "--recip"), "the option --recip, which it lacks"),
    ("commands", "gpu/jobs", _said("entrypoint", "flux_data_stage1", "flux_data_stage3"), "recipe=flux_data_stage3 is not a recipe"),
    ("commands", "gpu/jobs", _said("entrypoint", "models.flux_shadow", "models.flux_shade"), "flux_shade"),
    ("commands", "gpu/jobs", _said("entrypoint", "build_stage1.py", "build_stage3.py"), "which does not exist"),
    ("commands", "gpu", _put(lambda d: _mlflow(d), "command", ["mlflow", "server", "--hosts=0.0.0.0"]), "the option --hosts"),
    ("commands", "gpu", _put(lambda d: _mlflow(d), "command", ["mlfow", "server"]), "nothing that we know"),
]


@needs_kustomize
@pytest.mark.parametrize(("rule", "overlay", "plant", "found"), FAULTS, ids=[f"{rule}-{found}" for rule, _, _, found in FAULTS])
def test_a_planted_fault_is_found(rule: str, overlay: str, plant: Callable[[list[Document]], None], found: str) -> None:
    """One of each kind, in a copy, by the rule that is for it."""
    documents = rendered(overlay)
    plant(documents)
    assert [line for line in RULES[rule](documents) if found in line] != []
