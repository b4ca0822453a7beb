"""`bfs generate`: draw one layer into a box of a background."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfs_platform.cli.shell import AsJson, report

if TYPE_CHECKING:
    from bfs_model.boxes import Box

Background = Annotated[Path, typer.Option(metavar="IMAGE", help="The picture to draw into: PNG, JPEG or WebP, any size.")]
BoxText = Annotated[
    str, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="Where the object goes, in pixels of the background, half-open.")
]
Prompt = Annotated[str, typer.Option(help="What to draw.")]
Output = Annotated[Path, typer.Option(metavar="FILE", help="The RGBA layer (.png) or a layered document (.psd, .ora, .zip).")]
Model = Annotated[str, typer.Option(help="`tiny`, a folder, models:/NAME@ALIAS, or `fake` (a disc, to try out scripts).")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Drawn at random and printed when not given.")]
Steps = Annotated[int | None, typer.Option(min=1, max=1000, help="Sampling steps; the model's own number by default.")]
Composite = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the flat picture, as .png.")]
Url = Annotated[str | None, typer.Option(help="Let the service at this address draw instead; BFS_API_KEY is sent if set.")]


def generate(
    background: Background,
    box: BoxText,
    prompt: Prompt,
    output: Output,
    model: Model = "tiny",
    seed: Seed = None,
    steps: Steps = None,
    url: Url = None,
    composite: Composite = None,
    as_json: AsJson = False,
) -> None:
    """Draw one layer into a box of a background: the object with its shadow and reflection."""
    from bfs_model.boxes import Box
    from bfs_model.images import read_image
    from bfs_platform.cli.drawing import Task, draw
    from bfs_platform.cli.results import canvas, check_outputs, summary_text

    check_outputs(output, composite, background)
    picture = read_image(background, key="background").pil().convert("RGB")
    area = Box.of(box).within(picture.width, picture.height)
    _check_prompt(prompt)
    started = time.monotonic()
    if url is None:
        made = draw(Task(picture, area, prompt, seed, steps), model, output, composite)
    else:
        made = _there(url, background, area, prompt, output, seed, steps, composite)
    summary: dict[str, Any] = {"output": str(output), "composite": None if composite is None else str(composite)}
    summary |= {**canvas(area, picture), "prompt": prompt, **made, "elapsed_s": round(time.monotonic() - started, 3)}
    report(summary, as_json, summary_text(summary))


def _there(
    url: str, background: Path, box: "Box", prompt: str, output: Path, seed: int | None, steps: int | None, composite: Path | None
) -> dict[str, Any]:
    """Let a service draw."""
    from bfs_model.files import write_whole
    from bfs_platform.cli.client import request_layer
    from bfs_platform.cli.results import write_composite

    fields = {"box": str(box), "prompt": prompt, "seed": seed, "steps": steps}
    reply = request_layer(url, background, {key: value for key, value in fields.items() if value is not None}, output.suffix.lower())
    write_whole(output, reply.content)
    if composite is not None:
        write_composite(composite, reply.flattened_over(background))
    return {"url": url, "model": reply.model, "seed": reply.seed, "steps": steps}


def _check_prompt(prompt: str) -> None:
    from bfs_model.errors import BadInput

    if not prompt.strip():
        raise BadInput("prompt", repr(prompt), "is empty", "describe the object in words")
