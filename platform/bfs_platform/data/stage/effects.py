"""A layer with the effects that the source itself shows, for sources that know where they lie.

Nothing is simulated: the composite is what a shadow provider would have to arrive at, so the recomposition gives it back.
"""

import numpy as np

from bfs_model.sampling.refit import least_alpha, solve_foreground
from bfs_platform.data.record import Reason, Reject
from bfs_platform.data.stage.fit import MASK_LEVEL


def with_own_effects(layer: np.ndarray, composite: np.ndarray, background: np.ndarray, effect_mask: np.ndarray | None) -> np.ndarray:
    """The object with its shadow, reflection and whatever else it changes in the picture.

    In the effect region and where the object is, alpha is at least what explains the composite, and the colours are those that
    do. Elsewhere the layer is empty.

    Args: `layer` float [H, W, 4], the object alone; `composite`, `background` uint8 [H, W, 3]; `effect_mask` uint8 [H, W].
    Returns float32 [H, W, 4]. Raises `Reject` when the source does not know the effect region.
    """
    if effect_mask is None:
        raise Reject(Reason.NO_EFFECT_MASK, "the source does not say where the object's effects lie; use another shadow.kind")
    covered = (effect_mask >= MASK_LEVEL) | (layer[..., 3] > 0)
    alpha = np.where(covered, np.maximum(layer[..., 3], least_alpha(composite, background)), 0)
    return solve_foreground(composite, background, np.ceil(alpha * 255 - 1e-4) / 255).astype(np.float32) / 255
