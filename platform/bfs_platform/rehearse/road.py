"""The commands of the road, in order: what docs/training.md prints, and what a rehearsal runs with few records and steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bfs_model.errors import BadInput
from bfs_platform.config import names

_LARGE, _CARD = "_1024", "_1x24gb"
# The end of the road, from the folder of the repository: the service, and in another terminal a first layer.
SERVE = (".venv/bin/bfs", "serve", "--model", "models:/bfs@champion")
ASK = (
    *(".venv/bin/bfs", "generate", "--url", "http://127.0.0.1:8000", "--background", "room.png"),
    *("--box", "128,128,384,384", "--prompt", '"a red ball"', "--output", "layer.png"),
)


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


def shadow_road(recipe: str, base: str, source: Sequence[str]) -> list[Step]:
    """The steps before `road`, which make the network that draws shadows for it, of pictures with and without them.

    Raises `BadInput` as `road` does.
    """
    _, machine, _ = _parts(recipe)
    return [
        Step("pictures of shadows", "build_stage2", "desobav2_data", "shadow-set", tuple(source)),
        Step(
            "the shadow network",
            "train_shadow",
            _of("flux_shadow", machine),
            "shadow",
            ("--base", base, "--dataset", "ROAD/shadow-set"),
            True,
        ),
    ]


def road(recipe: str, base: str, source: Sequence[str], held_out: Sequence[str], evaluated: str) -> list[Step]:
    """The steps that lead to what `recipe` (of stage 1 or stage 2 on FLUX) trains, and from there to the registry.

    `base` is the folder of FLUX.1-Fill, `source` and `held_out` say `--source NAME --input PLACE` of what is trained on and measured on,
    `evaluated` is a folder in RORem's layout. Raises `BadInput` for another recipe.
    """
    stage, machine, size = _parts(recipe)
    data1, data2, pixels = (_set(name, machine, size) for name in ("flux_data_stage1", "flux_data_stage2", "flux_pixels"))
    sets, shadows = ("--dataset", "ROAD/stage1-set"), ("--set", "models.flux_shadow=ROAD/shadow")
    steps = [
        Step("pictures for the VAE", "build_stage1", pixels, "pixels", (*source, *shadows)),
        Step("the RGBA VAE", "train_rgba_vae", _of("flux_rgba_vae", machine), "rgba", ("--base", base, "--dataset", "ROAD/pixels"), True),
        Step("stage-1 set", "build_stage1", data1, "stage1-set", (*source, "--base", "ROAD/rgba", *shadows)),
        Step("stage-1 set to measure on", "build_stage1", data1, "stage1-held-out", (*held_out, "--base", "ROAD/rgba", *shadows)),
        Step("Φ", "train_compositor", _of("flux_compositor", machine), "phi", ("--base", "ROAD/rgba", *sets), True),
        Step(
            "stage 1",
            "stage1",
            _of("flux_stage1", machine, size),
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
                _of("flux_stage2", machine, size),
                "stage2",
                ("--base", "ROAD/stage1", *sets, "--dataset", "ROAD/stage2-set", "--validation", "ROAD/stage1-held-out"),
                True,
            ),
        ]
    model, protocol = f"ROAD/stage{stage}/model", "paper_evaluation" + (machine if machine == _CARD else "")
    return [
        *steps,
        Step("evaluation", "evaluate", protocol, "evaluation", ("--model", model, "--input", evaluated)),
        Step("promotion", "promote", "promotion", "promotion", ("--candidate", model, "--evaluation", "ROAD/evaluation")),
    ]


def _parts(recipe: str) -> tuple[int, str, str]:
    """Stage, machine and size of a recipe's name: `flux_stage2_1x24gb_1024` → 2, `_1x24gb`, `_1024`."""
    for stage in (1, 2):
        if recipe.startswith(f"flux_stage{stage}") and recipe in names():
            suffix = recipe.removeprefix(f"flux_stage{stage}")
            machine = suffix.removesuffix(_LARGE)
            return stage, machine, suffix.removeprefix(machine)
    known = [name for name in names() if name.startswith("flux_stage")]
    raise BadInput("recipe", recipe, "is no recipe of a stage at full size", f"use one of {', '.join(known)}")


def _of(name: str, machine: str, size: str = "") -> str:
    """The recipe for this machine: there is one, or the road is not whole."""
    found = f"{name}{machine}{size}"
    assert found in names(), f"{found} is on the road, and there is no such recipe"
    return found


def _set(name: str, machine: str, size: str) -> str:
    """The recipe of a set. Its pools grow with the cluster, so one serves all machines of 80 GB.

    A card of 24 GB has its own for pictures of 512 pixels. At 1024 no two of the models fit it, and its sets are built on a larger one.
    """
    return _of(name, machine if machine == _CARD and not size else "", size)
