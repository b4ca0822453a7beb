"""The commands of the road, in order: what docs/training.md prints, and what a rehearsal runs with few records and steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bfs_model.errors import BadInput
from bfs_platform.config import names

_SUFFIXES = ("_1024", "")


@dataclass(frozen=True, slots=True)
class Step:
    """One job of the road. `options` are its arguments beside recipe and output, with paths below the folder of the road."""

    title: str
    job: str
    recipe: str
    output: str
    options: tuple[str, ...] = ()
    trains: bool = False
    shorter: tuple[str, ...] = field(default=())

    def command(self, root: str) -> list[str]:
        """As it is typed, with `root` as the folder of the road."""
        options = [option.replace("ROAD", root) for option in self.options]
        return [f"jobs/{self.job}.py", "--recipe", self.recipe, *options, "--output", f"{root}/{self.output}"]


def road(recipe: str, base: str, source: Sequence[str], held_out: Sequence[str], evaluated: str) -> list[Step]:
    """The steps that lead to what `recipe` (of stage 1 or stage 2 on FLUX) trains, and from there to the registry.

    `base` is the folder of FLUX.1-Fill, `source` and `held_out` say `--source NAME --input PLACE` of what is trained on and measured on,
    `evaluated` is a folder in RORem's layout. Raises `BadInput` for another recipe.
    """
    stage, suffix = _parts(recipe)
    size = "_1024" if suffix.endswith("_1024") else ""
    machine = suffix.removesuffix("_1024")
    data1, data2 = f"flux_data_stage1{size}", f"flux_data_stage2{size}"
    sets = ("--dataset", "ROAD/stage1-set")
    steps = [
        Step("pictures for the VAE", "build_stage1", f"flux_pixels{size}", "pixels", tuple(source)),
        Step(
            "the RGBA VAE", "train_rgba_vae", _known("flux_rgba_vae", machine), "rgba", ("--base", base, "--dataset", "ROAD/pixels"), True
        ),
        Step("stage-1 set", "build_stage1", data1, "stage1-set", (*source, "--base", "ROAD/rgba")),
        Step("stage-1 set to measure on", "build_stage1", data1, "stage1-held-out", (*held_out, "--base", "ROAD/rgba")),
        Step("Φ", "train_compositor", _known("flux_compositor", machine), "phi", ("--base", "ROAD/rgba", *sets), True),
        Step(
            "stage 1",
            "stage1",
            f"flux_stage1{suffix}",
            "stage1",
            ("--base", "ROAD/phi", *sets, "--validation", "ROAD/stage1-held-out"),
            True,
        ),
    ]
    if stage == 2:
        steps += [
            Step("stage-2 set", "build_stage2", data2, "stage2-set", (*source, "--base", "ROAD/rgba")),
            Step(
                "stage 2",
                "stage2",
                f"flux_stage2{suffix}",
                "stage2",
                ("--base", "ROAD/stage1", *sets, "--dataset", "ROAD/stage2-set", "--validation", "ROAD/stage1-held-out"),
                True,
            ),
        ]
    model = f"ROAD/stage{stage}/model"
    return [
        *steps,
        Step("evaluation", "evaluate", "paper_evaluation", "evaluation", ("--model", model, "--input", evaluated)),
        Step("promotion", "promote", "promotion", "promotion", ("--candidate", model, "--evaluation", "ROAD/evaluation")),
    ]


def _parts(recipe: str) -> tuple[int, str]:
    """Stage and suffix of a recipe's name: `flux_stage2_1x24gb` → 2, `_1x24gb`."""
    for stage in (1, 2):
        if recipe.startswith(f"flux_stage{stage}") and recipe in names():
            return stage, recipe.removeprefix(f"flux_stage{stage}")
    known = [name for name in names() if name.startswith("flux_stage")]
    raise BadInput("recipe", recipe, "is no recipe of a stage at full size", f"use one of {', '.join(known)}")


def _known(name: str, machine: str) -> str:
    """The recipe for this machine where there is one of its own."""
    return name + machine if name + machine in names() else name
