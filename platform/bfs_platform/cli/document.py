"""`bfs document`: several layers from one description, and one of them drawn anew."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfs_platform.cli.generate import Model, Seed, SplitEffects
from bfs_platform.cli.shell import AsJson, report, say

if TYPE_CHECKING:
    from bfs_model.layers import LayerStack
    from bfs_model.scene import Scene

SceneFile = Annotated[Path, typer.Argument(metavar="SCENE", help="A scene.json: a background, and layers from back to front.")]
Document = Annotated[Path, typer.Option(metavar="FILE", help=".psd, .ora, .zip, or .png (flattened).")]
Redraw = Annotated[
    str | None, typer.Option(metavar="NAME", help="Draw only this layer anew; all others stay as they are, those above it too.")
]
From = Annotated[Path | None, typer.Option("--from", metavar="DOCUMENT", help="Where the other layers are; the output by default.")]


def document(
    scene: SceneFile,
    output: Document,
    model: Model = "tiny",
    redraw: Redraw = None,
    source: From = None,
    seed: Seed = None,
    split_effects: SplitEffects = False,
    as_json: AsJson = False,
) -> None:
    """Draw the layers of a scene, each onto the picture of those below it. --seed is for --redraw; a scene has its own."""
    from bfs_model import documents
    from bfs_model.errors import BadInput
    from bfs_model.layers import LayerStack
    from bfs_model.scene import Scene
    from bfs_platform.cli.results import check_outputs, summary_text

    for key, value in (("from", source), ("seed", seed)):
        if redraw is None and value is not None:
            raise BadInput(key, value, "is for --redraw only", "leave it out" if key == "from" else "write it into the scene")
    check_outputs(output, None, scene)
    described = Scene.open(scene)
    check_outputs(output, None, *(picture.path for picture in described.pictures))
    documents.check_size(output, *described.background.image.size)
    before = None if redraw is None else LayerStack.open(output if source is None else source)
    started = time.monotonic()
    stack, facts = _drawn(described, before, redraw, model, seed, split_effects)
    stack.save(output)
    layers = [_summary(layer) for layer in stack if layer.role != "background"]
    summary: dict[str, Any] = {"output": str(output), "size": [stack.width, stack.height], "model": facts, "layers": layers}
    summary["elapsed_s"] = round(time.monotonic() - started, 3)
    lines = [f"{layer['name']} (seed {layer['seed']})" if layer["seed"] is not None else layer["name"] for layer in layers]
    report(summary, as_json, summary_text({**summary, "layers": ", ".join(lines)}))


def _drawn(
    scene: "Scene", before: "LayerStack | None", name: str | None, model: str, seed: int | None, split: bool
) -> tuple["LayerStack", dict[str, Any]]:
    """The new stack, and what is known of the model."""
    from bfs_platform.cli import progress
    from bfs_platform.cli.models import load_model

    say(f"loading {model} ...")
    loaded = load_model(model)
    with progress.steps("drawing") as on_step:
        drawing: list[str] = []

        def show(layer: str, done: int, total: int) -> None:
            if drawing[-1:] != [layer]:
                drawing.append(layer)
                say(f"layer {layer}")
            on_step(done, total)

        if before is None:
            return scene.draw(loaded.pipeline, model=loaded.facts, split=split, on_step=show), loaded.facts
        assert name is not None
        return scene.redraw(before, name, loaded.pipeline, seed=seed, model=loaded.facts, split=split, on_step=show), loaded.facts


def _summary(layer: Any) -> dict[str, Any]:
    box = None if layer.box is None else list(layer.box)
    place = {"x": layer.x, "y": layer.y, "width": layer.width, "height": layer.height}
    made = {"box": box, "prompt": layer.prompt, "seed": layer.seed, "steps": layer.parameters.get("steps")}
    return {"name": layer.name, "group": layer.group, **place, **made}
