"""`bfs up`, `bfs down` and `bfs status`: the whole platform on this machine."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bfs_platform.cli.extras import require
from bfs_platform.cli.shell import FAILURE, AsJson, report

State = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the stack; BFS_STATE, or `stack` in BFS_HOME by default.")]


def up(
    state: State = None,
    profile: Annotated[str | None, typer.Option(help="`minimal` (default), or `full` with PostgreSQL and an S3 server.")] = None,
    model: Annotated[
        str | None, typer.Option(help="What is served; the registry's champion by default, `tiny` while there is none.")
    ] = None,
    port: Annotated[
        list[str] | None, typer.Option("--port", metavar="NAME=PORT", help="Another port for one part; may be repeated.")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Nodes of the Ray cluster beside its head; 0 by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start Ray, MLflow, the service with its studio, and Prometheus where it is installed; start anew what died."""
    require("bfs up", "serve", "ray", "mlflow", "fastapi")
    from bfs_platform.stack import control

    os.umask(0o077)
    folder = _folder(state)
    rows = control.up(folder, profile, model, port, workers)
    shell = folder / control.ENVIRONMENT
    report(_summary(folder, rows), as_json, f"{_table(rows)}\nFor jobs and commands of this shell: . {_short(shell)}")


def down(state: State = None, as_json: AsJson = False) -> None:
    """End all of it. Its data and logs stay where they are."""
    from bfs_platform.stack import control

    folder = _folder(state)
    ended = control.down(folder)
    text = f"Nothing runs any more; data and logs are in {_short(folder)}" if ended else f"There is no stack in {_short(folder)}"
    report({"state": str(folder), "ended": ended}, as_json, text)


def status(state: State = None, as_json: AsJson = False) -> None:
    """Say what runs where, and with which version. Exit code 1 when something that should run does not."""
    from bfs_platform.stack import control

    folder = _folder(state)
    rows = control.status(folder)
    report(_summary(folder, rows), as_json, _table(rows) if rows else f"There is no stack in {_short(folder)}")
    if not rows or any(row.state != control.UP for row in rows):
        raise typer.Exit(FAILURE)


def _folder(state: Path | None) -> Path:
    from bfs_platform.tracking.uri import bfs_home

    given = os.environ.get("BFS_STATE", "") if state is None else str(state)
    return (Path(given).expanduser() if given else bfs_home() / "stack").absolute()


def _summary(folder: Path, rows: list[Any]) -> dict[str, Any]:
    return {"state": str(folder), "environment": str(folder / "environment"), "parts": [asdict(row) for row in rows]}


def _table(rows: list[Any]) -> str:
    lines = [("part", "state", "pid", "version", "address", "log")]
    lines += [(r.name, r.state, str(r.pid or ""), r.version, r.url, _short(Path(r.log))) for r in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[5]]).rstrip() for line in lines
    )


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
