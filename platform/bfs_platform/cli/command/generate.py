"""`bfs generate`: draw one layer into a box of a background."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bfs_platform.cli.reference import ImageWeight, Reference, ReferenceMask, ReferenceTokens, Shown, TextWeight
from bfs_platform.cli.shell import AsJson, report

if TYPE_CHECKING:
    from bfs_model.picture.boxes import Box

Background = Annotated[Path, typer.Option(metavar="IMAGE", help="The picture to draw into: PNG, JPEG, WebP or TIFF, any size.")]
BoxText = Annotated[
    str, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="Where the object goes, in pixels of the background, half-open.")
]
Prompt = Annotated[str, typer.Option(help="What to draw; may be left out when a reference shows it.")]
Output = Annotated[Path, typer.Option(metavar="FILE", help="The RGBA layer (.png) or a layered document (.psd, .ora, .zip).")]
Model = Annotated[
    str | None,
    typer.Option(help="`tiny` (the default), a folder, models:/NAME@ALIAS, or `fake` (a disc, to try out scripts); with --url one of its."),
]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Drawn at random and printed when not given.")]
Steps = Annotated[int | None, typer.Option(min=1, max=1000, help="Sampling steps; the model's own number by default.")]
Cache = Annotated[
    Literal["none", "first_block", "taylorseer"],
    typer.Option(help="Reuse earlier steps where little changes: faster, and the layer a little other."),
]
Composite = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the flat picture, as .png.")]
Url = Annotated[str | None, typer.Option(help="Let the service at this address draw instead; BFS_API_KEY is sent if set.")]

DEFAULT_MODEL = "tiny"

SplitEffects = Annotated[
    bool,
    typer.Option("--split-effects", help="Object and effects (shadow, reflection) apart: two layers in a group, or two more .png."),
]


def generate(
    background: Background,
    box: BoxText,
    output: Output,
    prompt: Prompt = "",
    reference: Reference = None,
    reference_mask: ReferenceMask = None,
    image_weight: ImageWeight = 1.0,
    text_weight: TextWeight = None,
    reference_tokens: ReferenceTokens = None,
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    cache: Cache = "none",
    url: Url = None,
    composite: Composite = None,
    split_effects: SplitEffects = False,
    as_json: AsJson = False,
) -> None:
    """Draw one layer into a box of a background: the object with its shadow and reflection."""
    from bfs_model.document import file as documents
    from bfs_model.picture.boxes import Box
    from bfs_model.picture.images import read_image
    from bfs_platform.cli.drawing import Task, draw
    from bfs_platform.cli.results import canvas, check_outputs, say_warnings, summary_text

    inputs = [path for path in (background, reference, reference_mask) if path is not None]
    check_outputs(output, composite, *inputs, split=split_effects)
    picture = read_image(background, key="background").pil()
    documents.check_size(output, picture.width, picture.height)
    area = Box.of(box).within(picture.width, picture.height)
    shown = Shown(reference, reference_mask, image_weight, text_weight, reference_tokens)
    shown.check(prompt, url)
    started = time.monotonic()
    if url is None:
        task = Task(picture, area, prompt, seed, steps, split=split_effects, shown=shown, cache=cache)
        made = draw(task, model or DEFAULT_MODEL, output, composite)
    else:
        settings = {"model": model, "seed": seed, "steps": steps, "step_cache": cache, "split_effects": split_effects}
        made = _there(url, background, area, prompt, shown, settings, output, composite)
    summary: dict[str, Any] = {"output": str(output), "composite": None if composite is None else str(composite)}
    summary |= {**canvas(area, picture), "prompt": prompt, **made, "elapsed_s": round(time.monotonic() - started, 3)}
    say_warnings(made["warnings"])
    report(summary, as_json, summary_text(summary))


def _there(
    url: str, background: Path, box: "Box", prompt: str, shown: Shown, settings: dict[str, Any], output: Path, composite: Path | None
) -> dict[str, Any]:
    """Let a service draw."""
    from bfs_platform.cli.client import asking, check_steps, steps_shown, write_made

    check_steps(settings["steps"])
    reference = shown.png()
    with asking(url) as client:
        with steps_shown("drawing") as on_event:
            made = client.draw(background, tuple(box), prompt, reference=reference, on_event=on_event, **settings)
        return write_made(client, made, output, composite, settings["split_effects"])
