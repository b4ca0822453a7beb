"""The command line of `jobs/evaluate.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfs_model.weight.bundle import locate
from bfs_platform.config import resolve as resolve_recipe
from bfs_platform.console.screen import say
from bfs_platform.data.source.base import manifest_of
from bfs_platform.evaluate.report.results import mean_metrics, read_results
from bfs_platform.evaluate.run.run import evaluate
from bfs_platform.evaluate.samples import Entry, list_entries, select
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.jobs import JobParser, connect_ray
from bfs_platform.tracking.left_behind import finish
from bfs_platform.tracking.uri import bfs_home

_SAID = ("region_mae", "region_psnr", "alpha_iou", "effect_recall", "alpha_error_object", "alpha_error_effect")
_REPORT = "evaluation/report/index.html"


def main(arguments: Sequence[str] | None = None) -> Path:
    """Evaluate a model as the arguments say. Returns the path of the manifest.

    When not one record could be evaluated, the results are written all the same and the exit code is 1.
    """
    options = _parser().parse_args(arguments)
    overrides = [*options.set]
    given = {"steps": options.steps, "seed": options.seed, "task": options.task}
    overrides += [f"{key}={value}" for key, value in given.items() if value is not None]
    if options.task == "extraction" and options.recipe == "evaluation":
        options.recipe = "tabletop_extraction"  # with what extraction is compared
    spec = resolve_recipe(options.recipe, overrides, EvaluationSpec)
    model, facts = model_of(options.model)
    root = options.input.expanduser().resolve()
    entries = records(root, spec, options.list, options.limit)
    output = options.output.expanduser().absolute()
    connect_ray()
    manifest = evaluate(model, facts, root, entries, output, spec)
    results = read_results(output)
    _print_summary(results)
    if options.track or options.run_id:
        track(output, root, results, spec, options.run_id)
    if results["num_failed"] == results["num_samples"]:
        say(f"Every record failed; the first because: {results['failures'][0]['error']}")
        raise SystemExit(1)
    return manifest


def records(root: Path, spec: EvaluationSpec, frozen: Path | None = None, limit: int | None = None) -> list[Entry]:
    """The records of the folder `root` that are evaluated: those of a frozen list, which says itself which they are, or as many as `spec`
    asks for; of these the first `limit`. Raises `BadInput`."""
    if frozen is not None:
        entries = list_entries(root, spec.group_by, seed=spec.records_seed)
        return select(entries, frozen, (manifest_of(root) or {}).get("body"))[:limit]
    entries = list_entries(root, spec.group_by, limit, spec.num_records, spec.records_seed)
    if spec.num_records is not None and limit is None and len(entries) < spec.num_records:
        say(f"The input has {len(entries)} records, fewer than the {spec.num_records} of recipe {spec.recipe_name}.")
    return entries


def track(output: Path, root: Path, results: dict[str, Any], spec: EvaluationSpec, run_id: str | None) -> None:
    """Log an evaluation to MLflow: to the run `run_id`, or to one of its own; and to the version, if the model is one.

    Metrics stand under `eval/`, the output under `evaluation/`.
    """
    from bfs_platform.registry.evaluation import attach_evaluation
    from bfs_platform.registry.store import Reference, Unreachable, is_reference
    from bfs_platform.tracking.run import Run

    model = results["model"]
    if run_id:
        run = Run.attach(run_id)
    else:
        params = {"model": model["uri"], "list_hash": results["list"]["hash"], **spec.model_dump(mode="json")}
        consumed = {"kind": model["kind"], "content_hash": model["content_hash"], "body": {"name": model["uri"]}}
        inputs = [consumed, *filter(None, [manifest_of(root)])]
        run = Run.start(spec.experiment, f"evaluate {model['uri']}", params, {"model.content_hash": model["content_hash"]}, inputs)
    run.metrics({f"eval/{name}": value for name, value in mean_metrics(results).items()}, step=0)
    run.artifact(output, "evaluation")
    run.tags({"evaluation.report": _REPORT})
    if not run_id:  # a training run has a description of its own
        run.tags({"mlflow.note.content": f"The report with pictures is the artifact `{_REPORT}`."})
    delivered = run.flush() == 0 if run_id else finish(run)
    rest = "." if delivered else f"; the rest waits in {bfs_home() / 'tracking'} for the next run on this machine."
    say(f"Logged to MLflow run {run.run_id} at {run.uri}{rest}")
    if is_reference(model["uri"]):
        try:
            attach_evaluation(Reference.parse(model["uri"]), output)
        except Unreachable as error:  # the evaluation itself is done and committed
            say(f"{error} The figures can be attached at promotion with --evaluation {output}.")


def _parser() -> JobParser:
    parser = JobParser(prog="evaluate.py", description="Evaluate a model on records in RORem's layout; writes metrics.json and report/.")
    parser.add_argument("--model", required=True, help="tiny, a folder, or models:/NAME@ALIAS, models:/NAME/VERSION")
    parser.add_argument("--input", required=True, type=Path, help="folder with source/ mask/ GT/ meta.json")
    parser.add_argument("--output", required=True, type=Path, help="directory to write; a committed one is replaced")
    parser.add_argument("--limit", type=_positive, help="only the first N records")
    parser.add_argument("--list", type=Path, help="tabletop_heldout_200 or crisp_heldout_200, or an earlier list.json; refused if changed")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the recipe's, or the model's own)")
    parser.add_argument("--task", help="insertion (default) or extraction: take the layer out of the true composite")
    parser.add_argument("--seed", type=int, help="a record's noise depends on this seed and its id")
    parser.add_argument("--recipe", default="evaluation")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--track", action="store_true", help="log to MLflow (MLFLOW_TRACKING_URI, default .bfs/mlflow.db)")
    parser.add_argument("--run-id", help="log to this MLflow run instead of a new one")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def model_of(name: str) -> tuple[str, dict[str, Any]]:
    """What workers load, and the facts that name it in the results."""
    from bfs_platform.registry.resolve import describe, pin, resolve

    pinned = pin(name)
    folder = resolve(pinned)
    facts = describe(folder)
    if facts["base"]:
        facts["base"] = facts["base"] | {"name": _portable(str(facts["base"]["name"]))}
    return (str(folder) if str(folder) == "tiny" else str(locate(folder).resolve())), {"uri": _portable(pinned), **facts}


def _portable(name: str) -> str:
    """A folder by its last part: where it lies on this machine is no part of a result."""
    return name if name == "tiny" or name.startswith("models:") else Path(name).name


def _print_summary(results: dict[str, Any]) -> None:
    evaluated = results["num_samples"] - results["num_failed"]
    say(f"{evaluated} of {results['num_samples']} records evaluated.")
    for system, summary in results["systems"].items():
        names = [name for name in _SAID if summary[name]["n"]]
        figures = [f"{name} {summary[name]['mean']:.4f}" for name in names]
        say(f"  {system:10} {', '.join(figures)}")
