"""The training road on a cluster: what each job reads is there by then, models are folders where the hub is off, and promotions compare."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import yaml
from manifests import FOLDER, Document, committed, containers, of_kind, title

from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.config.spec import Spec
from bfs_platform.data.model.base import named
from bfs_platform.data.spec import DataSpec
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.rehearse.road import Step, shadow_road
from bfs_platform.rehearse.road import road as walk
from bfs_platform.train.spec import TrainSpec

Option = tuple[str, str]
_PLACE = re.compile(r"(?:/data|s3:/)/[\w./-]*\w")
_FLUX = FOLDER / "components/flux/kustomization.yaml"
# What `rehearse.road.road` asks for: the base, sources to train on and to measure on, the folder that is evaluated.
_RECORDS = ["--source", "rorem", "--input"]
_SOURCES = ([*_RECORDS, "s3://bfs/sources/rorem"], [*_RECORDS, "s3://bfs/sources/rorem-held-out"])
_SHADOWS = ["--source", "desobav2", "--input", "s3://bfs/sources/desobav2"]
_BASE, _EVALUATED = "/data/base", "/data/rorem-test"


def road(documents: list[Document]) -> Iterator[str]:
    """Each job reads what one before it makes, or what is brought; stages have held-out records; at full size it is the walk's road."""
    made: dict[str, str] = {}
    jobs = _in_order(documents)
    for job in jobs:
        options = _options(job)
        for place in [place for name, value in options if name != "--output" for place in _PLACE.findall(value)]:
            if not any(_lies_in(place, known) for known in (*made, *brought())):
                yield f"{title(job)} reads {place}, which no job before it makes"
        script, validation = _script(job), dict(options).get("--validation")
        if script in ("stage1", "stage2") and validation in (None, *(value for name, value in options if name == "--dataset")):
            yield f"{title(job)} has no held-out losses: --validation={validation}"
        output = dict(options).get("--output", "")
        if output in made:
            yield f"{title(job)} writes {output}, as {made[output]} does"
        made[output] = title(job)
    recipe = next((dict(_options(job))["--recipe"] for job in jobs if _script(job) == "stage2"), "")
    if recipe.startswith("flux_"):
        yield from _walked(jobs, [*shadow_road(recipe, _BASE, _SHADOWS), *walk(recipe, _BASE, *_SOURCES, _EVALUATED)])


def _walked(jobs: list[Document], steps: list[Step]) -> Iterator[str]:
    """The steps of docs/training.md, each behind the one before, with its options."""
    outputs: dict[str, str] = {}
    left = list(jobs)
    for step in steps:
        at = next((n for n, job in enumerate(left) if _is(job, step)), None)
        if at is None:
            yield f"no job takes the step '{step.title}' ({step.job}, {step.recipe}) where docs/training.md has it"
            continue
        job, left = left[at], left[at + 1 :]
        given = _options(job)
        outputs[step.output] = dict(given).get("--output", "")
        for name, value in pairwise(step.options):
            if name.startswith("--") and (name, _placed(value, outputs)) not in given:
                yield f"{title(job)} lacks {name} {_placed(value, outputs)} of the step '{step.title}' in docs/training.md"


def _is(job: Document, step: Step) -> bool:
    return _script(job) == step.job and ("--recipe", step.recipe) in _options(job)


def _placed(value: str, outputs: dict[str, str]) -> str:
    """`ROAD/stage1/model`, or `KEY=ROAD/stage1/model`, as the jobs have it."""
    key, on_the_road, place = value.partition("ROAD/")
    if not on_the_road:
        return value
    name, _, rest = place.partition("/")
    return key + "/".join(filter(None, [outputs.get(name, ""), rest]))


def training(documents: list[Document]) -> Iterator[str]:
    """Trainings have workers: one that has none trains where the job's driver is, which is the head."""
    for job in of_kind(documents, "RayJob"):
        options = _options(job)
        try:
            spec: Any = resolve(dict(options).get("--recipe", ""), [value for name, value in options if name == "--set"], Spec)
        except BadInput:  # another rule tells
            continue
        if isinstance(spec, TrainSpec) and spec.num_workers == 0:
            yield f"{title(job)} trains on the head: num_workers=0"


def promotion(documents: list[Document]) -> Iterator[str]:
    """A first champion is promoted by its evaluation; every other candidate is measured beside the champion, and tried."""
    ways = []
    for job in _in_order(documents):
        if _script(job) != "promote":
            continue
        options = dict(_options(job))
        way = options.keys() & {"--evaluation", "--input", "--canary"}
        ways.append(way)
        if way not in ({"--evaluation"}, {"--input", "--canary"}):
            yield f"{title(job)} promotes by {' and '.join(sorted(way)) or 'nothing'}: give --input and --canary, or --evaluation alone"
        home = yaml.safe_load(job["spec"].get("runtimeEnvYAML", "{}")).get("env_vars", {}).get("BFS_HOME", "")
        if "--input" in way and not any(_lies_in(home, volume) for volume in _shared(job)):
            yield f"{title(job)} fetches the champion into BFS_HOME={home}, which the pods that draw with it do not see"
    if ways and {"--input", "--canary"} not in ways:
        yield "no job compares a candidate with the champion"


def weights(documents: list[Document]) -> Iterator[str]:
    """Where the hub is off, each model that a job's recipe names is a folder on a volume of its cluster."""
    off = {d["metadata"]["name"] for d in of_kind(documents, "ConfigMap") if d["data"].get("HF_HUB_OFFLINE") == "1"}
    for job in of_kind(documents, "RayJob"):
        told = {source["configMapRef"]["name"] for c in _containers(job) for source in c.get("envFrom", []) if "configMapRef" in source}
        if not told & off:
            continue
        for key, value in _models(job).items():
            if not any(_lies_in(value, volume) for volume in _shared(job)):
                yield f"{title(job)} {key}={value} is no folder on a volume of its cluster, and the hub is off there"


def _models(job: Document) -> dict[str, str]:
    """The pretrained models that the recipes of a job name, by their keys. What cannot be resolved, another rule tells."""
    options, found = _options(job), {}
    changes = [value for name, value in options if name == "--set"]
    default = {"build_stage1": "tabletop_data_stage1", "build_stage2": "tabletop_data_stage2"}.get(_script(job))
    recipes = [(dict(options).get("--recipe", default), changes), (dict(options).get("--evaluation-recipe"), [])]
    for name, of_recipe in recipes:
        if name is None or "/" in name:  # a file that an earlier job has written
            continue
        try:
            spec: Any = resolve(name, of_recipe, Spec)
        except BadInput:
            continue
        if isinstance(spec, DataSpec):
            found |= {f"models.{model}": getattr(spec.models, model) for model in named(spec)}
        if isinstance(spec, EvaluationSpec):
            found |= {f"learned.{model}": getattr(spec.learned, model) for model in ("clip", "dino") if getattr(spec.learned, model)}
            found |= {"recogniser": spec.recogniser} if spec.recogniser not in (None, "embedded") else {}
            found |= {"models.blip2": spec.models.blip2} if spec.caption.kind == "blip2" else {}
    return found


@cache
def brought() -> tuple[str, ...]:
    """What no job makes: the places that the head of components/flux lists."""
    head = _FLUX.read_text(encoding="utf-8").partition("apiVersion")[0]
    return tuple(_PLACE.findall(head))


@cache
def _order() -> dict[str, int]:
    """The place of each job in infra/k8s/jobs/jobs.yaml; kustomize sorts them by name."""
    return {job["metadata"]["name"]: place for place, job in enumerate(of_kind(committed(), "RayJob"))}


def _in_order(documents: list[Document]) -> list[Document]:
    return sorted(of_kind(documents, "RayJob"), key=lambda job: _order()[job["metadata"]["name"]])


def _script(job: Document) -> str:
    return shlex.split(job["spec"]["entrypoint"])[1].removeprefix("jobs/").removesuffix(".py")


def _options(job: Document) -> list[Option]:
    return [(name, value) for name, value in pairwise(shlex.split(job["spec"]["entrypoint"])) if name.startswith("--")]


def _lies_in(place: str, folder: str) -> bool:
    return place == folder or place.startswith(f"{folder}/")


def _containers(job: Document) -> list[Document]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in containers(group["template"])]


def _shared(job: Document) -> set[str]:
    """Where all pods of a job's cluster see one volume."""
    cluster = job["spec"]["rayClusterSpec"]
    found = []
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        spec = group["template"]["spec"]
        claimed = {volume["name"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume}
        found.append({mount["mountPath"] for c in spec["containers"] for mount in c["volumeMounts"] if mount["name"] in claimed})
    return set.intersection(*found)
