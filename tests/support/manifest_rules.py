"""Rules for manifests, each a function from documents to the lines that say what is wrong. No line: all is well."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from manifests import ROOT, Document, clusters, containers, of_kind, templates, title

_LONGEST = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
_UPGRADES = {"RayCluster": ("Recreate", "None"), "RayService": ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")}
_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")


def schema(documents: list[Document], folder: Path) -> Iterator[str]:
    """The operator's resources against its own schemas."""
    for document in documents:
        validator = _validator(folder, document["kind"])
        for error in validator.iter_errors(document) if validator else ():
            yield f"{title(document)} {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"


@cache
def _validator(folder: Path, kind: str) -> Any:
    from jsonschema import Draft7Validator

    path = folder / f"{kind}_v1.json"
    return Draft7Validator(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def operator(documents: list[Document]) -> Iterator[str]:
    """What the operator checks in code, and its schemas do not say."""
    import ray

    for document in of_kind(documents, *_LONGEST):
        kind, name, spec = document["kind"], document["metadata"]["name"], document["spec"]
        if len(name) > _LONGEST[kind] or not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
            yield f"{title(document)} has no name that the operator takes (at most {_LONGEST[kind]} characters)"
        if (upgrade := spec.get("upgradeStrategy", {}).get("type")) not in (None, *_UPGRADES.get(kind, ())):
            yield f"{title(document)} upgradeStrategy.type={upgrade} is unknown"
        if kind == "RayJob":
            yield from _job(document)
    for document in of_kind(documents, "PodDisruptionBudget"):
        spec = document["spec"]  # Ray's pods belong to a kind whose replicas Kubernetes cannot ask for
        if any(label.startswith("ray.io/") for label in spec["selector"]["matchLabels"]) and type(spec.get("minAvailable")) is not int:
            yield f"{title(document)} says otherwise than by a whole minAvailable how many of an operator's pods stay: none may then go"
    for place, cluster in clusters(documents):
        yield from _cluster(place, cluster)
        if cluster.get("rayVersion") != ray.__version__:
            yield f"{place} rayVersion is {cluster.get('rayVersion')}, and this is Ray {ray.__version__}"


def _job(document: Document) -> Iterator[str]:
    spec = document["spec"]
    if (mode := spec.get("submissionMode", "K8sJobMode")) not in _MODES:
        yield f"{title(document)} submissionMode={mode} is unknown"
    if mode == "SidecarMode" and "submitterPodTemplate" in spec:
        yield f"{title(document)} has a submitterPodTemplate, which SidecarMode forbids"
    if "deletionStrategy" in spec and spec.get("shutdownAfterJobFinishes"):
        yield f"{title(document)} has both deletionStrategy and shutdownAfterJobFinishes"
    if not spec.get("activeDeadlineSeconds"):
        yield f"{title(document)} may run, and cost, for ever: it has no activeDeadlineSeconds"


def _cluster(place: str, cluster: Document) -> Iterator[str]:
    options = cluster.get("authOptions", {})
    if options.get("mode") != "token" or not options.get("secretName"):
        yield f"{place} is open, or gets a token that changes with each upgrade: authOptions wants mode token and a secretName"
    if options.get("enableK8sTokenAuth"):
        yield f"{place} has enableK8sTokenAuth, which jobs and services do not take"
    if "name" in cluster["headGroupSpec"].get("headService", {}).get("metadata", {}):
        yield f"{place} names its head service"
    autoscaled = cluster.get("enableInTreeAutoscaling") and cluster.get("autoscalerOptions", {}).get("version") == "v2"
    groups = [("head", cluster["headGroupSpec"]), *((g["groupName"], g) for g in cluster["workerGroupSpecs"])]
    for name, group in groups:
        spec = group["template"]["spec"]
        if autoscaled and spec.get("restartPolicy", "Never") != "Never":
            yield f"{place} {name} restarts its pods ({spec['restartPolicy']}), which autoscaler v2 does not allow"
        if not group.get("minReplicas", 0) <= group.get("replicas", 0) <= group.get("maxReplicas", 2**31):
            yield f"{place} {name} replicas are not between minReplicas and maxReplicas"


def serve(documents: list[Document]) -> Iterator[str]:
    """The service's configuration: by Ray's own schema, by our arguments, and as the program that owns it renders it."""
    from ray.serve.schema import ServeDeploySchema

    from bfs_serve.app import AppArgs, check_batch
    from bfs_serve.config import render

    for document in of_kind(documents, "RayService"):
        try:
            given = yaml.safe_load(document["spec"]["serveConfigV2"])
            ServeDeploySchema.model_validate(given)
            (application,) = given["applications"]
            check_batch(AppArgs.model_validate(application["args"]))
            if given != yaml.safe_load(render({key: str(value) for key, value in application["args"].items()})):
                yield f"{title(document)} serveConfigV2 is not what bfs_serve.config renders"
        except (ValueError, KeyError, yaml.YAMLError) as error:
            yield f"{title(document)} serveConfigV2: {' '.join(str(error).split())[:300]}"


def images(documents: list[Document]) -> Iterator[str]:
    """Ours, of this version, of a variant that the Dockerfile builds."""
    from bfs_model import __version__

    variants = {f"{__version__}-{variant}" for variant in ("cpu", "cuda")}
    for place, template in templates(documents):
        for container in containers(template):
            name, _, tag = container["image"].rpartition(":")
            if not name.endswith("/bfs") or tag not in variants:
                yield f"{place} {container['name']} runs {container['image']}, which is no image of this version"


def privileges(documents: list[Document]) -> Iterator[str]:
    """Nobody is root, writes to the root file system, or keeps a capability; each container says what it needs."""
    for place, template in templates(documents):
        pod = template["spec"].get("securityContext", {})
        if not pod.get("runAsNonRoot") or not isinstance(pod.get("runAsUser"), int):
            yield f"{place} may run as root"
        for container in containers(template):
            own = container.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False or not own.get("readOnlyRootFilesystem") or own.get("privileged"):
                yield f"{place} {container['name']} may do more than it needs"
            if own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{place} {container['name']} keeps capabilities"
            if {"cpu", "memory"} - container.get("resources", {}).get("requests", {}).keys():
                yield f"{place} {container['name']} does not say what it needs"


def commands(documents: list[Document], options_of: Callable[[tuple[str, ...]], set[str]]) -> Iterator[str]:
    """Every command line names a program of ours or MLflow's, with options that it has, and recipes and changes that exist."""
    for place, words in command_lines(documents):
        program = program_of(words)
        if program is None:
            yield f"{place} runs {' '.join(words)}, which is nothing that we know"
            continue
        try:
            known = options_of(program)
        except FileNotFoundError as error:
            yield f"{place} runs {error}, which does not exist"
            continue
        given = [word.partition("=")[0] for word in words[len(program) :] if word.startswith("--")]
        yield from (f"{place} gives {' '.join(program)} the option {option}, which it lacks" for option in given if option not in known)
        yield from _recipe(place, words)


def command_lines(documents: list[Document]) -> Iterator[tuple[str, list[str]]]:
    """Entry points of jobs, and commands of containers."""
    for document in of_kind(documents, "RayJob"):
        yield title(document), shlex.split(document["spec"]["entrypoint"])
    for place, template in templates(documents):
        for container in containers(template):
            if words := [*container.get("command", []), *container.get("args", [])]:
                yield f"{place} {container['name']}", words


def program_of(words: list[str]) -> tuple[str, ...] | None:
    """The words that name a program: of which `--help` tells the options."""
    if words[:1] == ["mlflow"]:
        return tuple(words[: 3 if words[1] == "db" else 2])
    if words[:2] == ["python", "-m"]:
        return tuple(words[:3])
    if words[:1] == ["python"] and words[1].startswith("jobs/"):
        if not (ROOT / words[1]).exists():
            return ("python", words[1])
        return tuple(words[:2])
    return None


def _recipe(place: str, words: list[str]) -> Iterator[str]:
    from bfs_platform.config import resolve
    from bfs_platform.config.spec import Spec

    named = [after for word, after in pairwise(words) if word == "--recipe"]
    changes = [after for word, after in pairwise(words) if word == "--set"]
    for name in named:
        try:
            resolve(name, changes, Spec)
        except ValueError as error:
            yield f"{place}: {error}"
