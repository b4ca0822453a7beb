"""Parts of a base that no training has seen: named, with the job that trains them, before any work that would stand on them."""

from collections.abc import Mapping

from bfs_model.errors import BadInput
from bfs_model.weight import bundle

# A VAE comes first: the others are trained on its latents.
_TRAINED_BY = {
    "rgba_vae": "jobs/train_rgba_vae.py --recipe {family}_rgba_vae, on pictures built with encode.enabled=false",
    "compositor": "jobs/train_compositor.py --recipe {family}_compositor",
    "sharing": "jobs/stage1.py --recipe {family}_stage1",
}
FRESH = "fresh"  # as a base: a small one of the tabletop world's networks, which nothing has trained


def check_trained(base: str, needed: Mapping[str, str]) -> None:
    """Raise `BadInput` when parts that are `needed` are among those of `base` that no training has seen; it names the jobs that do.

    `needed`: names of parts, and what can be done instead of training each, or "".
    """
    untrained = bundle.TRAINED_PARTS if base == FRESH else bundle.untrained(base)
    missing = [part for part in _TRAINED_BY if part in needed and part in untrained]
    if not missing:
        return
    family = "flux" if base != FRESH and bundle.is_flux(base) else "tabletop"
    jobs = ", then ".join(f"{part} by {_TRAINED_BY[part].format(family=family)}" for part in missing)
    instead = "".join(f"; or {needed[part]}" for part in missing if needed[part] and (len(missing) == 1 or part == "compositor"))
    raise BadInput("base", base, f"was never trained in {' and '.join(missing)}", f"train {jobs}{instead}")
