"""Run a pipeline once, with its steps on stderr, and write what it drew."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bfs_platform.cli.reference import Shown
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say

if TYPE_CHECKING:
    from PIL import Image

    from bfs_model.picture.boxes import Box


@dataclass(frozen=True)
class Task:
    """What is to be drawn: a layer into `box` of `background`, or, if `finished` is given, the layer that it shows there."""

    background: "Image.Image"
    box: "Box"
    prompt: str
    seed: int | None
    steps: int | None
    finished: "Image.Image | None" = None
    split: bool = False
    joint_guidance: float = 0.0
    refit: bool = False
    shown: Shown = field(default_factory=Shown)
    cache: str = "none"


def draw(task: Task, model: str, output: Path, composite: Path | None = None) -> dict[str, Any]:
    """Load `model`, draw, and write `output` and `composite`. Returns the part of the summary that says how it was made."""
    from bfs_platform.cli.models import load_model
    from bfs_platform.cli.results import write_composite, write_layer

    say(f"loading {model} ...")
    loaded = load_model(model, reference=task.shown.reference is not None)
    num_done = 0
    with progress("drawing" if task.finished is None else "extracting", task.steps, "steps") as on_step:
        expected = task.steps or int(loaded.pipeline.config.default_steps)

        def callback(_pipe: Any, step: int, _time: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            nonlocal num_done
            num_done = step + 1
            on_step(num_done, max(expected, num_done))
            return {}

        settings: dict[str, Any] = {"seed": task.seed, "num_inference_steps": task.steps, "callback_on_step_end": callback}
        if task.cache != "none":
            settings["step_cache"] = task.cache
        if task.finished is None:
            drawn = loaded.pipeline(task.background, tuple(task.box), task.prompt, **settings, **task.shown.settings())
        else:
            settings |= {"joint_guidance": task.joint_guidance, "refit": task.refit}
            drawn = loaded.pipeline.extract(task.finished, task.background, tuple(task.box), task.prompt, **settings)
    made = {"model": loaded.facts, "seed": drawn.seeds[0], "steps": num_done, "warnings": drawn.warnings[0]}
    parameters = {"steps": num_done} | task.shown.facts() | ({"joint_guidance": task.joint_guidance} if task.joint_guidance else {})
    if task.refit:
        parameters["refit"] = True
    if task.cache != "none":
        parameters["cache"] = task.cache
    if made["warnings"]:
        parameters["warnings"] = made["warnings"]
    facts = {"box": task.box, "prompt": task.prompt or None, "seed": made["seed"], "model": loaded.facts, "parameters": parameters}
    write_layer(output, task.background, drawn.foregrounds[0], task.prompt, facts, task.split)
    if composite is not None:
        write_composite(composite, drawn.composites[0])
    return made
