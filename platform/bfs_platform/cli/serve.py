"""`bfs serve`: become the service. It lives a floor above, so it is started as a program and not imported."""

import os
import sys
from typing import Annotated

import typer


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="`tiny`, a folder or models:/NAME@ALIAS, which is followed when it moves.")] = "tiny",
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback needs API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve a model over HTTP until Ctrl-C. Further options: `python -m bfs_serve --help`."""
    arguments = command(model, host, port, context.args)
    # The service takes this process over, so signals and the exit code are its own.
    os.execv(arguments[0], arguments)


def command(model: str, host: str, port: int, further: list[str]) -> list[str]:
    """The program and its arguments; `further` options are handed on as they are."""
    return [sys.executable, "-m", "bfs_serve", "--model", model, "--host", host, "--port", str(port), *further]
