"""What a model is compared with. A baseline sees the whole record, truth included, and delivers what a model delivers.

`identity`: nothing is added. `truth`: the least layer that gives the true composite, a ceiling; `vae_truth`: that layer
through the RGBA VAE. `two_step`: the backbone alone inpaints, then the object is matted. `matting`: the object cut out of
the true composite with its true mask (task extraction). `NAME=FOLDER`: another model.
`NAME=flux_fill:FOLDER`, `NAME=paint_by_inpaint:FOLDER`, `NAME=precomputed:DIR`: systems of others (`outside`).
Further ones by `"package.module:factory"`; the factory is called with the model under evaluation.
"""

from collections.abc import Callable

from bfs_model.errors import BadInput
from bfs_model.weight.bundle import locate
from bfs_platform.evaluate.system.models import LayerModel, imported, load_pipeline
from bfs_platform.evaluate.system.truth import Baseline, Identity, Model, Truth


def _two_step(model: LayerModel) -> Baseline:
    from bfs_platform.evaluate.system.two_step import TwoStep

    return TwoStep(model)


def _vae_truth(model: LayerModel) -> Baseline:
    from bfs_platform.evaluate.system.two_step import VaeTruth

    return VaeTruth(model)


def _matting(model: LayerModel) -> Baseline:
    from bfs_platform.evaluate.system.extraction import plain_matting

    return plain_matting(model)


BASELINES: dict[str, Callable[[LayerModel], Baseline]] = {
    "identity": lambda model: Identity(),
    "truth": lambda model: Truth(),
    "vae_truth": _vae_truth,
    "two_step": _two_step,
    "matting": _matting,
}

OUTSIDE_KINDS = ("flux_fill", "paint_by_inpaint", "precomputed")


def system_name(name: str) -> str:
    """How a baseline is called in the results: what stands before `=`, if anything does."""
    return name.partition("=")[0]


def find_baseline(name: str, memory: str | None = None) -> Callable[[LayerModel], Baseline]:
    """The factory of a baseline: by name, `"NAME=FOLDER"`, `"NAME=KIND:PLACE"` or `"package.module:factory"`. Raises `BadInput` else.

    `memory`: how another model is loaded, as the one under evaluation; systems of others are not told.
    """
    if name in BASELINES:
        return BASELINES[name]
    system, equals, folder = name.partition("=")
    if equals:
        if not system or system in BASELINES or system == "model":
            raise BadInput("baseline", name, "has a name that is taken or empty", "use another name before =")
        kind, colon, place = folder.partition(":")
        if colon and kind in OUTSIDE_KINDS:
            from bfs_platform.evaluate.system.outside import OUTSIDE

            return OUTSIDE[kind](place)
        locate(folder)
        told = {} if memory is None else {"memory": memory}
        return lambda model: Model(load_pipeline(folder, **told))
    return imported(f"baseline (known: {', '.join(BASELINES)})", name)
