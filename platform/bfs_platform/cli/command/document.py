"""`bfs document`: several layers from one description, and one of them drawn anew."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bfs_platform.cli.command.generate import DEFAULT_MODEL, Model, Seed, SplitEffects, Url
from bfs_platform.cli.shell import AsJson, report
from bfs_platform.console.screen import say

if TYPE_CHECKING:
    from bfs_model.document.layers import LayerStack
    from bfs_model.document.scene import Scene, SceneLayer

SceneFile = Annotated[Path, typer.Argument(metavar="SCENE", help="A scene.json: a background, and layers from back to front.")]
Document = Annotated[Path, typer.Option(metavar="FILE", help=".psd, .ora, .zip, or .png (flattened).")]
Redraw = Annotated[
    str | None, typer.Option(metavar="NAME", help="Draw only this layer anew; all others stay as they are, those above it too.")
]
From = Annotated[Path | None, typer.Option("--from", metavar="DOCUMENT", help="Where the other layers are; the output by default.")]


def document(
    scene: SceneFile,
    output: Document,
    model: Model = None,
    redraw: Redraw = None,
    source: From = None,
    seed: Seed = None,
    url: Url = None,
    split_effects: SplitEffects = False,
    as_json: AsJson = False,
) -> None:
    """Draw the layers of a scene, each onto the picture of those below it. --seed is for --redraw; a scene has its own."""
    from bfs_model.document import file as documents
    from bfs_model.document.layers import LayerStack
    from bfs_model.document.scene import Scene
    from bfs_model.errors import BadInput
    from bfs_platform.cli.results import check_outputs, say_warnings, summary_text

    for key, value in (("from", source), ("seed", seed)):
        if redraw is None and value is not None:
            raise BadInput(key, value, "is for --redraw only", "leave it out" if key == "from" else "write it into the scene")
    check_outputs(output, None, scene)
    described = Scene.open(scene)
    check_outputs(output, None, *(picture.path for picture in described.pictures))
    documents.check_size(output, *described.background.image.size)
    place = None if redraw is None else output if source is None else source
    started = time.monotonic()
    if url is None:
        before = None if place is None else LayerStack.open(place)
        stack, made = _drawn(described, before, redraw, model or DEFAULT_MODEL, seed, split_effects)
    else:
        stack, made = _there(url, described, redraw, place, model, seed, split_effects)
    stack.save(output)
    layers = [_summary(layer) for layer in stack if layer.role != "background"]
    summary: dict[str, Any] = {"output": str(output), "size": [stack.width, stack.height], **made, "layers": layers}
    of_layers = [f"{layer['name']}: {line}" for layer in layers for line in layer["warnings"]]
    summary["warnings"] = list(dict.fromkeys(of_layers or made.get("warnings", [])))
    say_warnings(summary["warnings"])
    summary["elapsed_s"] = round(time.monotonic() - started, 3)
    lines = [f"{layer['name']} (seed {layer['seed']})" if layer["seed"] is not None else layer["name"] for layer in layers]
    report(summary, as_json, summary_text({**summary, "layers": ", ".join(lines)}))


def _drawn(
    scene: "Scene", before: "LayerStack | None", name: str | None, model: str, seed: int | None, split: bool
) -> tuple["LayerStack", dict[str, Any]]:
    """The new stack, and what a summary says of how it was made."""
    from bfs_platform.cli.models import load_model
    from bfs_platform.console.progress import progress

    say(f"loading {model} ...")
    loaded = load_model(model, reference=any(layer.reference is not None for layer in scene.layers))
    with progress("drawing", None, "steps") as on_step:
        drawing: list[str] = []

        def show(layer: str, done: int, total: int) -> None:
            if drawing[-1:] != [layer]:
                drawing.append(layer)
                say(f"layer {layer}")
            on_step(done, total)

        if before is None:
            return scene.draw(loaded.pipeline, model=loaded.facts, split=split, on_step=show), {"model": loaded.facts}
        assert name is not None
        return scene.redraw(before, name, loaded.pipeline, seed=seed, model=loaded.facts, split=split, on_step=show), {
            "model": loaded.facts
        }


def _there(
    url: str, scene: "Scene", name: str | None, before: Path | None, model: str | None, seed: int | None, split: bool
) -> tuple["LayerStack", dict[str, Any]]:
    """The new stack as a service draws it, and what a summary says of how it was made."""
    from bfs_model.errors import BadInput
    from bfs_platform.cli.client import asking, document_bytes, facts, stack_of, steps_shown

    layers = [_asked(number, layer, seed, split) for number, layer in enumerate(scene.layers) if name in (None, layer.name)]
    if not layers:
        raise BadInput("redraw", name, "is not a layer of the scene", f"it has {', '.join(layer.name for layer in scene.layers)}")
    document = None if before is None else document_bytes(before)
    wish: dict[str, Any] = {} if model is None else {"model": model}
    with asking(url) as client:
        with steps_shown("drawing") as on_event:
            made = client.document(scene.background.path, layers, redraw=name, document=document, on_event=on_event, **wish)
        return stack_of(client, made), facts(client, made)


def _asked(number: int, layer: "SceneLayer", seed: int | None, split: bool) -> dict[str, Any]:
    """A layer of a scene as a service is asked for it; `seed` goes before the scene's."""
    from bfs_model.errors import BadInput
    from bfs_platform.cli.client import check_steps

    if layer.image is not None or layer.box is None:
        rule = "is given as a picture, and a service draws every layer"
        raise BadInput(f"layers[{number}]", layer.name, rule, "leave it out, or draw here without --url")
    check_steps(layer.steps)
    plain = {name: getattr(layer, name) for name in ("name", "prompt", "steps", "opacity", "blend_mode", "visible")}
    reference = None if layer.reference is None else layer.reference.path
    wanted = {"seed": layer.seed if seed is None else seed, "split_effects": split or layer.split_effects}
    return plain | wanted | {"box": list(layer.box), "reference": reference, "opacity": float(layer.opacity)}


def _summary(layer: Any) -> dict[str, Any]:
    box = None if layer.box is None else list(layer.box)
    place = {"x": layer.x, "y": layer.y, "width": layer.width, "height": layer.height}
    made = {"box": box, "prompt": layer.prompt, "seed": layer.seed, "steps": layer.parameters.get("steps")}
    made["warnings"] = layer.parameters.get("warnings", [])
    return {"name": layer.name, "group": layer.group, **place, **made}
