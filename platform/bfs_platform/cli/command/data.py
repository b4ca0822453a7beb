"""`bfs data`: build training sets, plan large builds, look at what was built."""

from pathlib import Path
from typing import Annotated

import typer

from bfs_platform.cli.shell import AsJson, Command, Failure, report

app = typer.Typer(no_args_is_help=True, help="Build training sets, plan large builds, look at what was built.")


@app.command("build", cls=Command)
def build(
    stage: Annotated[int, typer.Option(min=1, max=2, help="Which training set: 1 with simulated shadows, 2 as photographed.")],
    source: Annotated[str, typer.Option(metavar="NAME", help="Layout of the input; an unknown one is answered with the list.")],
    input_: Annotated[str, typer.Option("--input", metavar="URI", help="The source's folder or file, or s3://bucket/prefix.")],
    output: Annotated[str, typer.Option(metavar="URI", help="Directory of the set, or s3://bucket/prefix.")],
    recipe: Annotated[str | None, typer.Option(metavar="NAME", help="Default: tabletop_data_stage1 or 2.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")] = None,
    base: Annotated[str, typer.Option(help="Bundle whose encoders make the latents: tiny, or a folder.")] = "tiny",
    commercial: Annotated[bool, typer.Option("--commercial", help="Refuse sources whose licence does not allow it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a training set with Ray Data: jobs/build_stage1.py or build_stage2.py. A stopped build goes on when asked again."""
    from bfs_platform.data.execute.finish import BuildFailed
    from bfs_platform.data.shard.show import as_text, describe
    from bfs_platform.entry.build import run

    try:
        manifest = run(stage, source, input_, output, recipe, changes or [], base, commercial)
    except BuildFailed as error:
        raise Failure(str(error)) from None
    facts = describe(manifest.parent) | {"manifest": str(manifest)}
    report(facts, as_json, as_text(facts))


@app.command("plan", cls=Command)
def plan(
    records: Annotated[str, typer.Option(metavar="N", help="How many records: 250000, 250k, 100M.")],
    measured: Annotated[str, typer.Option(metavar="URI", help="A training set that was built small, with the same recipe.")],
    hours: Annotated[float, typer.Option(min=0.01, help="Finish within so many hours.")] = 24.0,
    nodes: Annotated[int | None, typer.Option(min=1, help="Use so many nodes instead.")] = None,
    node_cpus: Annotated[int, typer.Option(min=1, help="Cores of a node.")] = 64,
    node_gpus: Annotated[int, typer.Option(min=0, help="GPUs of a node.")] = 0,
    node_hour_cost: Annotated[float, typer.Option(min=0, help="Price of a node for an hour.")] = 0.0,
    gb_month_cost: Annotated[float, typer.Option(min=0, help="Price of a GB stored for a month.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Nodes, hours, GPU hours, storage and cost of a large build, from the throughput of a small one."""
    from bfs_platform.data.plan import capacity
    from bfs_platform.storage.path import location

    hardware = capacity.Hardware(node_cpus, node_gpus, node_hour_cost, gb_month_cost)
    facts = capacity.plan(capacity.measure(location(measured)), capacity.count_of(records), hardware, hours, nodes)
    report(facts, as_json, capacity.as_text(facts))


@app.command("show", cls=Command)
def show(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The directory of a training set, or s3://bucket/prefix.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page with pictures of some records.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Also check the sha256 of every file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a training set holds, what made it, and what was rejected."""
    from bfs_model.files import writable
    from bfs_platform.data.shard.show import as_text, contact_sheet, describe
    from bfs_platform.storage.manifests import verify as verify_files
    from bfs_platform.storage.path import location

    if html is not None:
        writable(html, key="html")
    facts = describe(directory)
    if verify:
        verify_files(location(directory))
    if html is not None:
        contact_sheet(directory, html)
    report(facts, as_json, as_text(facts))
