"""`bfs extract`: take the layer of an object out of a finished picture whose background is known."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfs_platform.cli.command.generate import DEFAULT_MODEL, Background, Model, Output, Seed, SplitEffects, Steps, Url
from bfs_platform.cli.shell import AsJson, report

if TYPE_CHECKING:
    from PIL import Image

    from bfs_model.picture.boxes import Box

Finished = Annotated[Path, typer.Option(metavar="IMAGE", help="The picture with the object; as large as the background.")]
MaybeBox = Annotated[
    str | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="Around the object; where the pictures differ by default.")
]
Guidance = Annotated[
    float, typer.Option(min=0.0, max=10.0, help="Listen to the finished picture this much more than trained; a second pass per step.")
]
Refit = Annotated[bool, typer.Option("--refit", help="Where the layer shows anything, make it explain the finished picture exactly.")]
_DIFFERENT = 12  # levels of 255: above the noise of compression, below any object that is worth a layer


def extract(
    composite: Finished,
    background: Background,
    output: Output,
    box: MaybeBox = None,
    prompt: Annotated[str, typer.Option(help="What the object is.")] = "",
    model: Model = None,
    joint_guidance: Guidance = 0.0,
    refit: Refit = False,
    seed: Seed = None,
    steps: Steps = None,
    url: Url = None,
    split_effects: SplitEffects = False,
    as_json: AsJson = False,
) -> None:
    """Take an object, with its shadow and reflection, out of a finished picture as a layer over the known background."""
    from PIL import Image

    from bfs_model.document import file as documents
    from bfs_model.document.layer import check_text
    from bfs_model.picture.boxes import Box
    from bfs_model.picture.images import read_image
    from bfs_platform.cli.drawing import Task, draw
    from bfs_platform.cli.results import canvas, check_outputs, say_warnings, summary_text

    check_text("prompt", prompt)
    check_outputs(output, None, composite, background, split=split_effects)
    finished = Image.fromarray(read_image(composite, key="composite").over_white())
    empty = read_image(background, key="background").pil()
    documents.check_size(output, empty.width, empty.height)
    area = _area(finished, empty, None if box is None else Box.of(box).within(empty.width, empty.height))
    started = time.monotonic()
    if url is None:
        task = Task(empty, area, prompt, seed, steps, finished, split_effects, joint_guidance, refit)
        made = draw(task, model or DEFAULT_MODEL, output)
    else:
        settings = {"model": model, "seed": seed, "steps": steps, "split_effects": split_effects}
        made = _there(url, composite, background, area, prompt, settings | {"joint_guidance": joint_guidance, "refit": refit}, output)
    summary = {"output": str(output), **canvas(area, empty), **made, "elapsed_s": round(time.monotonic() - started, 3)}
    say_warnings(made["warnings"])
    report(summary, as_json, summary_text(summary))


def _there(url: str, composite: Path, background: Path, box: "Box", prompt: str, settings: dict[str, Any], output: Path) -> dict[str, Any]:
    """Let a service take it out."""
    from bfs_platform.cli.client import asking, check_steps, steps_shown, write_made

    check_steps(settings["steps"])
    with asking(url) as client:
        with steps_shown("extracting") as on_event:
            made = client.extract(composite, background, tuple(box), prompt, on_event=on_event, **settings)
        return write_made(client, made, output, None, settings["split_effects"])


def _area(finished: "Image.Image", empty: "Image.Image", box: "Box | None") -> "Box":
    """The box to work in: the given one, or the smallest around everything that differs."""
    import numpy as np

    from bfs_model.errors import BadInput
    from bfs_model.picture.boxes import bounding_box
    from bfs_model.picture.images import read_image

    if finished.size != empty.size:
        shown = f"{finished.width}x{finished.height}"
        raise BadInput(
            "composite", shown, f"is not as large as the background, {empty.width}x{empty.height}", "give two pictures of one size"
        )
    if box is not None:
        return box
    before = read_image(empty, key="background").over_white()
    difference = np.abs(np.asarray(finished).astype(np.int16) - before.astype(np.int16)).max(axis=-1)
    found = bounding_box(difference > _DIFFERENT)
    if found is None:
        raise BadInput("composite", f"{finished.width}x{finished.height}", "shows nothing that the background does not", "give --box")
    return found
