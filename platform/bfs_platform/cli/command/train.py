"""`bfs train plan`: what a training run will need, before it is started. `bfs rehearse`: the whole road to it, small."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bfs_platform.cli.extras import require
from bfs_platform.cli.shell import AsJson, Command, Failure, report

app = typer.Typer(no_args_is_help=True, help="Plan training runs.")
_GIB = 1024**3


@app.callback()
def _group() -> None:
    """Keeps `plan` a sub-command although it is the only one."""


@app.command("plan", cls=Command)
def plan(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A training recipe, or a resolved specification.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value; repeatable.")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="H200, H100, A100, L40S or RTX4090; without it what the recipe's name says, else H200.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of machines; without it what the recipe's workers fill.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=1, help="Accelerators of each machine; 8 at most, without it.")] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Side of the training images in pixels; without it what the recipe's name says, else 512 for Flux.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="flux|tiny|DIR", help="The model that is trained on; tiny for recipes of the tabletop, else flux.")
    ] = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="What one accelerator sustains, as you measured it.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Dollars per accelerator and hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print memory, seconds per step, days and cost of a run; exit with 2 when it cannot fit, and say what would.

    A recipe is planned on the machines and at the size of pictures that it is for, unless options say otherwise.
    """
    from bfs_platform.config import resolve
    from bfs_platform.train.plan.machines import machine, setting_of
    from bfs_platform.train.plan.plan import make_plan
    from bfs_platform.train.spec import TrainSpec

    changes = overrides or []
    spec = resolve(recipe, [*changes, "num_workers=1", "min_workers=0"], TrainSpec)
    workers = _workers(recipe, changes)
    meant = setting_of(spec.recipe_name, workers)
    nodes = nodes or (-(-workers // gpus_per_node) if gpus_per_node else meant.nodes)
    gpus_per_node = gpus_per_node or meant.gpus_per_node
    chosen = machine(gpu) if gpu else meant.machine
    chosen = replace(chosen, tflops=tflops or chosen.tflops, price_per_hour=chosen.price_per_hour if price is None else price)
    made = make_plan(spec, _asked_of(spec, base or _base_of(spec.recipe_name), resolution or meant.side), chosen, nodes, gpus_per_node)
    facts = {"recipe": recipe, "gpu": chosen.name, "nodes": nodes, "gpus_per_node": gpus_per_node, "tflops_per_gpu": chosen.tflops}
    report({**facts, **made.to_json()}, as_json, _text(facts, made, spec))


def rehearse(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe of stage 1 or stage 2 at full size, such as flux_stage2.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Directory of everything that is made; an earlier rehearsal is replaced.")],
    side: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 128,
    steps: Annotated[int, typer.Option(help="Steps of every training.")] = 4,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers of every training; without it 2, or 1 where there is one GPU.")
    ] = None,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of each kind in the transformer, of 19 and 38.")] = 1,
    tiny: Annotated[bool, typer.Option("--tiny", help="Tiny widths instead of the real ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a folder of the recipe's real widths with random weights, and run every step of the road on it, to a served layer."""
    require("bfs rehearse", "platform", "ray", "deepspeed", "mlflow")
    from bfs_platform import jobs
    from bfs_platform.rehearse.report import as_text, compared
    from bfs_platform.rehearse.run import Rehearsal, num_gpus

    rehearsal = Rehearsal(recipe, output.absolute(), side, steps, workers, blocks, tiny)
    try:
        seen = rehearsal.run()
    except jobs.Failure as error:
        raise Failure(str(error)) from None
    plan = compared(recipe, seen, rehearsal.geometry(), rehearsal.num_workers, on_gpu=num_gpus() > 0)
    facts = {"recipe": recipe, "side": side, "blocks": blocks, "tiny": tiny, "steps": seen, "plan": plan}
    (output / "report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    report(facts, as_json, as_text(seen, plan))


def _workers(recipe: str, changes: list[str]) -> int:
    """Workers that a run would have. How a batch is split over them does not count: options may plan it on others."""
    from bfs_platform.config import resolve
    from bfs_platform.train.spec import TrainSpec

    told = [change for change in changes if change.partition("=")[0] == "num_workers"]
    text = told[-1].partition("=")[2] if told else ""
    return max(1, int(text) if text.isdigit() else resolve(recipe, told, TrainSpec).num_workers)


def _base_of(recipe: str) -> str:
    return "tiny" if recipe.startswith(("tabletop_", "crisp_")) else "flux"


def _asked_of(spec: Any, base: str, resolution: int | None) -> Any:
    """What a sample takes: by formulas for both stages, counted for the other networks."""
    from bfs_model.weight import bundle
    from bfs_platform.train.network_spec import SharingSpec
    from bfs_platform.train.plan import geometry

    folder = None if base == "flux" else bundle.locate(bundle.root_of(base))
    if isinstance(spec.network, SharingSpec):
        at = resolution or 512
        return geometry.flux(at, spec.network) if folder is None else geometry.of_bundle(folder, spec.network, resolution)
    from bfs_platform.train.network import demand

    return demand.demand(spec, demand.flux(resolution or 512) if folder is None else demand.of_bundle(folder, resolution))


def _text(facts: dict[str, Any], made: Any, spec: Any) -> str:
    memory = made.memory
    parts = ", ".join(f"{name} {getattr(memory, name) / _GIB:.1f}" for name in vars(memory))
    held = f"{memory.total / _GIB:.1f} of {made.memory_limit_bytes / _GIB:.1f} GiB per GPU ({parts})"
    times = f"{made.accumulation} x {made.micro_batch_size} samples on each of {made.world_size} GPUs"
    rate = f"at {facts['tflops_per_gpu']:g} TFLOP/s per GPU"
    return "\n".join(
        [
            f"batch      {spec.batch_size}: {times}",
            f"memory     {held}",
            f"step       {made.step_s:.3f} s: {made.compute_s:.3f} compute {rate}, {made.communication_s:.3f} communication",
            f"speed      {made.samples_per_s:.1f} samples/s, {made.flops_per_step / 1e12:.0f} TFLOP per step",
            f"run        {spec.num_steps} steps: {made.days:.2f} days, {made.cost_dollars:,.0f} dollars",
            f"checkpoint {made.checkpoint_bytes / _GIB:.2f} GiB each",
        ]
    )
