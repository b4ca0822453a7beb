"""`bfs data`: look at datasets."""

from pathlib import Path
from typing import Annotated

import typer

from bfs_platform.cli.shell import AsJson, Command, report

app = typer.Typer(no_args_is_help=True, help="Look at training sets.")


@app.callback()
def _group() -> None:
    """Keeps `show` a sub-command although it is the only one."""


@app.command("show", cls=Command)
def show(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a training set.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page with pictures of some records.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Also check the sha256 of every file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a training set holds, what made it, and what was rejected."""
    from bfs_model.files import writable
    from bfs_model.integrity import verify as verify_files
    from bfs_platform.data.show import as_text, contact_sheet, describe

    if html is not None:
        writable(html, key="html")
    facts = describe(directory)
    if verify:
        verify_files(directory)
    if html is not None:
        contact_sheet(directory, html)
    report(facts, as_json, as_text(facts))
