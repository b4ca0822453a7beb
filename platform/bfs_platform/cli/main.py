"""The command tree and its entry point."""

import atexit
import contextlib
import os
import sys
import threading
from typing import Annotated, NoReturn

import typer

from bfs_platform.cli.command import (
    capacity,
    convert,
    data,
    doctor,
    document,
    export,
    extract,
    generate,
    recipes,
    registry,
    serve,
    stack,
    study,
    train,
)
from bfs_platform.cli.shell import FAILURE, Command, Commands

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
app.command("up", cls=Command)(stack.up)
app.command("down", cls=Command)(stack.down)
app.command("status", cls=Command)(stack.status)
app.command("capacity", cls=Command)(capacity.capacity)
app.command("studio", cls=Command, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.studio)
app.command("doctor", cls=Command)(doctor.doctor)
app.command("recipes", cls=Command)(recipes.recipes)
app.command("show", cls=Command)(recipes.show)
app.command("rehearse", cls=Command)(train.rehearse)
app.command("tables", cls=Command)(study.tables)
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
    from bfs_platform.console.log_file import show_fault
    from bfs_platform.jobs import name_accelerator
    from bfs_platform.proxies import spare_loopback

    name_accelerator()
    spare_loopback()
    try:
        app()
    except SystemExit as end:
        _leave(end.code)
    except Exception as error:
        show_fault(error)
        _leave(FAILURE)
    _leave(0)


def _leave(code: int | str | None) -> NoReturn:
    """End as Python does, but without taking down module by module what the system takes back at once: a tenth of a second of torch's."""
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
