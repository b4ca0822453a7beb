"""The Kubernetes manifests: what they say holds, and a rule for each kind of mistake, which is seen to find it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import manifest_references as links
import manifest_rules as rules
import pytest
import yaml
from manifests import OVERLAYS, ROOT, Document, clusters, committed, of_kind, rendered, schemas, templates, tool

from .manifest_disruption import disruption
from .manifest_faults import FAULTS, Plant
from .manifest_grace import grace
from .manifest_mlflow import mlflow
from .manifest_monitoring import monitoring, runbooks
from .manifest_network import network
from .manifest_placement import placement
from .manifest_road import promotion, road, training, weights

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
    "network": network,
    "grace": grace,
    "placement": placement,
    "disruption": disruption,
    "mlflow": mlflow,
    "monitoring": monitoring,
    "runbooks": runbooks,
    "road": road,
    "training": training,
    "promotion": promotion,
    "weights": weights,
}
# Jobs come into a namespace where the platform is: settings, claims, policies and budgets are its.
BESIDE_THE_PLATFORM = ("references", "network", "grace", "disruption", "weights")


def _sent(overlay: str, rule: str) -> list[Document]:
    """What a rule looks at of an overlay."""
    platform = overlay.removesuffix("/jobs")
    return rendered(overlay) + (rendered(platform) if rule in BESIDE_THE_PLATFORM and platform != overlay else [])


@needs_kustomize
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_the_rules(overlay: str, rule: str) -> None:
    """What an overlay sends to a cluster, looked at by each rule."""
    documents = _sent(overlay, rule)
    assert len(documents) > 5 and list(RULES[rule](documents)) == []


@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"images", "runbooks"}))
def test_what_is_committed_keeps_the_rules(rule: str) -> None:
    """The documents as they are written, for which no kustomize is needed: it alone names images, and addresses of pages."""
    documents = committed()
    assert len(documents) > 20 and list(RULES[rule](documents)) == []


@needs_kustomize
def test_where_the_hub_is_on_models_have_its_names() -> None:
    """The rule on weights asks for folders where settings say that the hub is off, and nowhere else."""
    documents = _sent("gpu/jobs", "weights")
    for job in of_kind(documents, "RayJob"):
        job["spec"]["entrypoint"] = re.sub(r"--set (models|learned)\.\w+=\S+", "", job["spec"]["entrypoint"])
    assert len(list(weights(documents))) == 18
    next(d for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"] == "bfs-settings")["data"]["HF_HUB_OFFLINE"] = "0"
    assert list(weights(documents)) == []


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


@needs_kustomize
@pytest.mark.parametrize(("rule", "overlay", "plant", "found"), FAULTS, ids=[f"{rule}-{found}" for rule, _, _, found in FAULTS])
def test_a_planted_fault_is_found(rule: str, overlay: str, plant: Plant, found: str) -> None:
    """One of each kind, in a copy, by the rule that is for it."""
    documents = _sent(overlay, rule)
    plant(documents)
    assert [line for line in RULES[rule](documents) if found in line] != []
