"""Start a training run: check every input, open the MLflow run, and hand the workers to Ray Train."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.weight import bundle
from bfs_platform.cluster.environment import joins_cluster
from bfs_platform.config import dump
from bfs_platform.console.screen import say
from bfs_platform.data.shard.fetch import manifest_at
from bfs_platform.jobs import connect_ray
from bfs_platform.tracking.left_behind import finish
from bfs_platform.tracking.uri import bfs_home
from bfs_platform.train.launch.following import following
from bfs_platform.train.launch.room import check_room
from bfs_platform.train.launch.worker import run_ranked, run_worker
from bfs_platform.train.network_spec import Network, SharingSpec
from bfs_platform.train.report.gates import VALIDATION
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state import optimizers
from bfs_platform.untrained import FRESH, check_trained

log = logging.getLogger(__name__)

_SPEC = "spec.json"
_DATA_OF_STAGE = {1: "synthetic", 2: "natural"}
_ENCODED = ("sharing", "backbone", "compositor")
_MEASURED = ("rgba_vae", "compositor", "backbone", "sharing")
_PATIENCE_S = 1800  # ranks wait so long for one that draws pictures or writes a large model; a dead one is noticed by Ray


def fit(
    spec: TrainSpec, base: str, datasets: Sequence[str | Path], output: Path, *, validation: str | Path | None = None, dry_run: bool = False
) -> Path:
    """Train `spec.network` on top of `base` and return the path of the manifest of the result.

    Args:
        base: a bundle or model, or `fresh` for a small untrained bundle.
        datasets: directories or prefixes of object stores, built by the data jobs; their manifests say which stage they are.
        output: directory of the run; a run that was interrupted there continues from its newest good checkpoint.
        validation: another such set, on which gates are measured at the end, and losses of the backbone and of both stages on the way too.
        dry_run: check all inputs and return the path that would be written.
    Raises: `BadInput` for anything that is missing or does not fit, before a worker starts.
    """
    output = output.absolute()
    optimizers.check(spec.optimizer)
    _check_base(spec.network, base)
    manifests = {str(place): manifest for place, manifest in map(manifest_at, datasets)}
    grown_from = getattr(spec.network, "grown_from", "")
    if base == FRESH and not dry_run:
        base = _fresh_base(list(manifests), output, spec.seed, grown_from)
    elif grown_from and base != FRESH:
        raise BadInput("network.grown_from", grown_from, f"is where a fresh base begins, and the base is {base}", "set network.grown_from=")
    if base != FRESH:
        bundle.verify(bundle.locate(base))
    by_name = _by_name(manifests)
    _check_fit(spec, manifests)
    if spec.best.metric and validation is None:
        raise BadInput("best.metric", spec.best.metric, "is measured on a validation set, and none is given", "add --validation")
    if validation is not None:
        by_name[VALIDATION] = _checked_validation(spec, validation, manifests)
    if dry_run:
        return output / integrity.MANIFEST
    _prepare(output, spec)
    facts = _facts(spec, base, manifests)
    run = _start_run(spec, output, manifests)
    facts["training"]["run_id"] = run.run_id
    config = {
        "spec": spec.model_dump(mode="json"),
        "recipe": spec.recipe_name or spec.network.kind,
        "base": bundle.absolute(base),
        "datasets": by_name,
        "home": str(bfs_home()),
        "output": str(output),
        "facts": facts,
        "tracking": {"run_id": run.run_id, "uri": run.uri},
    }
    try:
        with following(output, str(config["recipe"]), spec.num_steps):
            manifest = Path(_run(spec, config, output))
    except BaseException:
        run.finish("FAILED")
        raise
    run.artifact(manifest, "result")
    run.tags({"content_hash": integrity.read_manifest(manifest.parent)["content_hash"]})
    if not finish(run):
        say(f"MLflow at {run.uri} is away: what it lacks waits in {bfs_home() / 'tracking'} for the next run on this machine.")
    _write_spec(spec, output)
    return manifest


def _run(spec: TrainSpec, config: dict[str, Any], output: Path) -> str:
    if spec.num_workers == 0:
        _single_rank_group(spec.use_gpu)
        return str(run_worker(config))
    connect_ray()  # before the imports: Ray reads its environment while it is imported
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError

    from bfs_platform.train.launch.trainer import Group, Trainer

    check_room(spec, [node["Resources"] for node in ray.nodes() if node["Alive"]], grows=joins_cluster())
    num_workers = (spec.min_workers, spec.num_workers) if 0 < spec.min_workers < spec.num_workers else spec.num_workers
    trainer: Any = Trainer(
        cast(Any, run_ranked),
        train_loop_config=config,
        scaling_config=cast(Any, ScalingConfig)(  # its stubs are those of the first version
            num_workers=num_workers, use_gpu=spec.use_gpu, elastic_resize_monitor_interval_s=spec.elastic_interval_s
        ),
        torch_config=Group(timeout_s=_PATIENCE_S),
        run_config=RunConfig(name="ray", storage_path=str(output), failure_config=FailureConfig(max_failures=spec.max_failures)),
    )
    try:
        result: Any = trainer.fit()
    except WorkerGroupError as error:
        raise _cause(error.worker_failures) or error from None
    answer = result.return_value
    if answer is None:
        raise RuntimeError("training ended without a result")
    if "stopped" in answer:
        from bfs_platform.train.loop import Stopped

        raise Stopped(answer["stopped"])
    return str(answer["manifest"])


def _cause(failures: dict[int, Any]) -> BadInput | None:
    """What the user can correct, among the errors of the ranks; they come wrapped by Ray, and as copies."""
    for error in failures.values():
        inner: Any = error
        while inner is not None and not isinstance(inner, BadInput):
            inner = getattr(inner, "_base_exc", None) or getattr(inner, "cause", None) or inner.__cause__
        if inner is not None:
            assert isinstance(inner, BadInput)
            return inner
    return None


def _by_name(manifests: dict[str, dict[str, Any]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for directory, manifest in manifests.items():
        name = _DATA_OF_STAGE[manifest["body"]["stage"]]
        if name in names:
            raise BadInput("dataset", directory, f"is a second {name} set beside {names[name]}", "give one of each stage")
        names[name] = directory
    if not names:
        raise BadInput("dataset", "none", "was given", "add --dataset with the output of a build job")
    return names


def _checked_validation(spec: TrainSpec, directory: str | Path, manifests: dict[str, dict[str, Any]]) -> str:
    """The place of a set to measure on: of the stage that is trained on, and none of the training sets."""
    place, manifest = manifest_at(directory)
    if spec.network.kind not in _MEASURED:
        rule = f"is of no use to a {spec.network.kind} network"
        raise BadInput("validation", directory, rule, f"only these are measured: {', '.join(_MEASURED)}")
    if spec.network.kind in _ENCODED and not manifest["body"]["encoded"]:
        raise BadInput("validation", directory, "holds pixels only", "build it with --set encode.enabled=true")
    if _DATA_OF_STAGE[manifest["body"]["stage"]] not in data_of(spec.network):
        raise BadInput("validation", directory, f"is a stage-{manifest['body']['stage']} set", "give one of the stage that is trained on")
    if manifest["body"]["num_records"] < 1:
        raise BadInput("validation", directory, "is empty", "build it from more records")
    if manifest["content_hash"] in {m["content_hash"] for m in manifests.values()}:
        raise BadInput("validation", directory, "is trained on", "build one from other records, or leave it out")
    return str(place)


def _check_fit(spec: TrainSpec, manifests: dict[str, dict[str, Any]]) -> None:
    for directory, manifest in manifests.items():
        if manifest["body"]["num_records"] < 1:
            raise BadInput("dataset", directory, "is empty", "build it from more records")
        if spec.network.kind in _ENCODED and not manifest["body"]["encoded"]:
            raise BadInput("dataset", directory, "holds pixels only", "build it with --set encode.enabled=true")
    given = _by_name(manifests)
    for stage, name in _DATA_OF_STAGE.items():
        if name in data_of(spec.network) and name not in given:
            remedy = f"add --dataset with the output of build_stage{stage}.py"
            raise BadInput("dataset", ", ".join(given.values()), f"lacks the stage-{stage} set", remedy)


def _check_base(network: Network, base: str) -> None:
    """Raises `BadInput` when `network` would learn from parts of `base` that never learned anything themselves."""
    needed: dict[str, str] = {}
    if isinstance(network, SharingSpec):
        needed["rgba_vae"] = ""
        if network.comp_weight > 0:
            needed["compositor"] = "set network.comp_weight=0 to train without it"
        if network.init == "base":
            needed["sharing"] = "set network.init=fresh to begin anew"
    elif network.kind == "compositor" or (network.kind == "rgba_vae" and network.decoder_only):
        needed["rgba_vae"] = ""
    check_trained(base, needed)


def data_of(network: Network) -> list[str]:
    """Names of the data sets that a network trains on."""
    if isinstance(network, SharingSpec):
        from bfs_platform.train.network.sharing import options_of

        return [option.data for option in options_of(network)]
    return ["natural" if network.kind in ("rgb_vae", "backbone", "recogniser", "reference", "shadow") else "synthetic"]


def _fresh_base(datasets: list[str], output: Path, seed: int, grown_from: str = "") -> str:
    """A small untrained bundle beside the run, for pictures as large as these; its tokenizers know the words of the captions.

    It begins with what fits of the bundle `grown_from`, if one is named.
    """
    from bfs_model.tiny.components import geometry_for, random_bundle
    from bfs_platform.data.shard.fetch import open_near

    folder = output.with_name(f"{output.name}.base")
    opened = [open_near(d) for d in datasets]
    captions = sorted({str(c) for d in opened for c in d.take(range(len(d)), ["caption"])["caption"]})
    facts: dict[str, Any] = {"fresh": {"seed": seed, "captions": hashlib.sha256("\n".join(captions).encode()).hexdigest()}}
    if grown_from:
        facts["fresh"]["grown_from"] = bundle.content_hash(grown_from)
    if not folder.exists():
        largest = max(side for d in opened for size in d.buckets() for side in size)
        random_bundle(folder, geometry_for(largest), captions, seed, facts, untrained=bundle.TRAINED_PARTS, grown_from=grown_from)
    elif bundle.read(folder)["body"].get("fresh") != facts["fresh"]:
        raise BadInput(
            "base", folder, "was made for another seed, for other captions or from another bundle", "remove it, or choose another output"
        )
    return str(folder)


def _prepare(output: Path, spec: TrainSpec) -> None:
    if output.exists() and any(output.iterdir()) and not (output / _SPEC).exists():
        raise BadInput("output", output, "exists and holds no training run", "choose another directory")
    output.mkdir(parents=True, exist_ok=True)
    if not (output / _SPEC).exists():  # else what a refused run asked for would stand beside another's result
        _write_spec(spec, output)
    _set_snapshot_aside(output / "ray" / "checkpoint_manager_snapshot.json")


def _write_spec(spec: TrainSpec, output: Path) -> None:
    if spec.recipe_name:
        dump(spec, output / _SPEC)


def _set_snapshot_aside(path: Path) -> None:
    """Ray Train would start from its own notes, and a torn one would brick the run's name: our manifests decide instead."""
    if not path.exists():
        return
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        aside = path.with_name(f"damaged-{path.name}")
        path.replace(aside)
        log.warning("%s is not whole. Set aside as %s; the run continues from its own checkpoints.", path, aside.name)
        return
    path.unlink()


def _facts(spec: TrainSpec, base: str, manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    data = [{"stage": m["body"]["stage"], **_named(m)} for m in manifests.values()]
    of_data = {source["licence"] for m in manifests.values() for source in m["body"].get("sources", [])}
    of_base = bundle.read(bundle.locate(base))["body"].get("training", {}).get("licences", [])
    licences = sorted(of_data.union(of_base))
    training = {**spec.resolved(), "started_from": bundle.content_hash(base), "datasets": data, "licences": licences}
    return {"training": training}


def _named(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"content_hash": manifest["content_hash"], "num_records": manifest["body"]["num_records"]}


def _start_run(spec: TrainSpec, output: Path, manifests: dict[str, dict[str, Any]]) -> Any:
    from bfs_platform.tracking.run import Run

    name = spec.recipe_name or spec.network.kind
    tags = {"output": str(output), "network": spec.network.kind}
    return Run.start(spec.experiment, name, params=spec.model_dump(mode="json"), tags=tags, inputs=list(manifests.values()))


def _single_rank_group(use_gpu: bool) -> None:
    """A process group of this process alone: DeepSpeed wants one. It stays for the next run, as DeepSpeed remembers it."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "nccl" if use_gpu and torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", "0")
