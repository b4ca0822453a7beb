"""`bfs serve`, `bfs studio`: become the service. It lives a floor above, so it is started as a program and not imported."""

import os
import sys
from typing import Annotated

import typer

from bfs_platform.cli.extras import require
from bfs_platform.console import log_file


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="`tiny`, a folder or models:/NAME@ALIAS, which is followed when it moves.")] = "tiny",
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback needs API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    store: Annotated[str, typer.Option(help="Jobs: a file, or postgresql://… for several nodes; a file in BFS_HOME by default.")] = "",
    blobs: Annotated[str, typer.Option(help="Pictures: a folder, or s3://bucket/prefix; a folder in BFS_HOME by default.")] = "",
) -> None:
    """Serve a model over HTTP until Ctrl-C. Further options: `python -m bfs_serve --help`."""
    require("bfs serve", "serve", "ray", "fastapi")
    places = [part for name, place in (("--store", store), ("--blobs", blobs)) if place for part in (name, place)]
    _become(command(model, host, port, [*places, *context.args]))


def studio(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="`tiny`, a folder or models:/NAME@ALIAS, which is followed when it moves.")] = "tiny",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on, on this machine alone.")] = 8000,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page once it is ready, where there is a screen.")
    ] = True,
) -> None:
    """Draw in the browser: serve a model on this machine and open the studio. Further options: `python -m bfs_serve --help`."""
    require("bfs studio", "serve", "ray", "fastapi")
    _become(command(model, "127.0.0.1", port, ["--studio", "open" if browser else "say", *context.args]))


def _become(arguments: list[str]) -> None:
    """The service takes this process over, so signals and the exit code are its own."""
    log_file.give_back()
    os.execv(arguments[0], arguments)


def command(model: str, host: str, port: int, further: list[str]) -> list[str]:
    """The program and its arguments; `further` options are handed on as they are."""
    return [sys.executable, "-m", "bfs_serve", "--model", model, "--host", host, "--port", str(port), *further]
