"""Between commands and a service elsewhere: its steps shown, its errors those of commands, its results written as theirs."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.cli.results import PARTS, part_paths
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say
from bfs_platform.jobs import Failure

if TYPE_CHECKING:
    from bfs_model.document.layers import LayerStack
    from bfs_platform.client import BFSClient
    from bfs_platform.client.events import Event
    from bfs_platform.client.views import JobResult

PATIENCE_S = 30.0


@contextlib.contextmanager
def asking(url: str) -> Iterator["BFSClient"]:
    """A client of the service at `url`. Raises `BadInput` for what it refuses, `Failure` for what it cannot do now."""
    from bfs_platform.client import BFSClient, ServiceError

    said = ""

    def on_wait(reason: str) -> None:
        nonlocal said
        if reason != said:
            said = reason
            say(f"{reason}; trying again for {PATIENCE_S:g} s")

    try:
        with BFSClient(url, patience_s=PATIENCE_S, on_wait=on_wait) as client:
            say(f"asking {url} ...")
            yield client
    except ServiceError as error:
        raise Failure(str(error)) from None


@contextlib.contextmanager
def steps_shown(what: str) -> Iterator[Callable[["Event"], None]]:
    """Show how far a job has come: its place in the queue, then its steps. Yields what a client calls with each event."""
    with progress(what, None, "steps") as shown:

        def on_event(event: "Event") -> None:
            if event.name == "queued":
                position = event.data.get("position")
                shown.note = f"{position} jobs in front" if position else ""
                shown.changed()
            elif event.name == "progress":
                shown(event.data["step"], event.data["steps"])

        yield on_event


def check_steps(steps: int | None) -> None:
    """Raises `BadInput` for more steps than a service takes."""
    from bfs_platform.client.fields import MAX_STEPS

    if steps is not None and steps > MAX_STEPS:
        raise BadInput("--steps", steps, f"is more than the {MAX_STEPS} that a service takes", "ask for fewer, or draw here without --url")


def write_made(client: "BFSClient", made: "JobResult", output: Path, composite: Path | None, split: bool) -> dict[str, Any]:
    """Write the layer of a job, its parts and its composite. Returns the part of the summary that says how it was made."""
    write_whole(output, client.file(made.id, output.suffix.lower()[1:]))
    if split and output.suffix.lower() == ".png":  # one picture holds one layer
        for part in PARTS:
            write_whole(part_paths(output)[part], made.png(part))
    if composite is not None:
        write_whole(composite, made.png("composite"), key="composite")
    return facts(client, made) | {"seed": made.seed, "steps": made.steps if made.progress is None else made.progress.steps}


def stack_of(client: "BFSClient", made: "JobResult") -> "LayerStack":
    """The document that a job made."""
    from bfs_model.document import file as documents

    stack: LayerStack = documents.decode(client.file(made.id, "zip"), shown="document")
    return stack


def facts(client: "BFSClient", made: "JobResult") -> dict[str, Any]:
    """What a summary says of the service's part."""
    model = None if made.model is None else made.model.model_dump()
    return {"url": client.url, "model": model, "warnings": made.warnings}


def document_bytes(path: Path) -> bytes:
    """A document as a service reads it: as it is, or as .zip where another program wrote it. Raises `BadInput`."""
    from bfs_model.document import file as documents

    try:
        documents.read_manifest(path)
        is_ours = documents.keeps_layers(path)
    except BadInput:
        is_ours = False
    if not is_ours:  # an .ora of plain layers may be anybody's; what is none, or one flat picture, is told by its path
        return documents.encode(documents.load(path), ".zip")
    return path.expanduser().read_bytes()
