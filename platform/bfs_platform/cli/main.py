"""The command tree and its entry point."""

import sys
from typing import Annotated

import typer

from bfs_platform.cli import convert, data, doctor, document, export, extract, generate, recipes, registry, serve, study, train
from bfs_platform.cli.shell import Command, Commands

app = typer.Typer(
    name="bfs",
    cls=Commands,
    help="Draw, inspect and serve image layers that hold an object together with its shadow and reflection.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate", cls=Command)(generate.generate)
app.command("extract", cls=Command)(extract.extract)
app.command("document", cls=Command)(document.document)
app.command("export", cls=Command)(export.export)
app.command("convert", cls=Command)(convert.convert)
app.command("serve", cls=Command, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.serve)
app.command("doctor", cls=Command)(doctor.doctor)
app.command("recipes", cls=Command)(recipes.recipes)
app.command("show", cls=Command)(recipes.show)
app.command("promote", cls=Command)(registry.promote)
app.command("rollback", cls=Command)(registry.rollback)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(study.app, name="study")


def _version(wanted: bool) -> None:
    if wanted:
        import bfs_model

        print(f"bfs {bfs_model.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")] = False,
) -> None:
    """Options that come before the command."""


def main() -> None:
    """The console script `bfs`. Exit codes: 0, 1 failure, 2 bad input, 130 interrupted."""
    from bfs_platform.jobs import name_accelerator

    name_accelerator()
    sys.exit(app())
