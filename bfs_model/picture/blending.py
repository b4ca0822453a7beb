"""How a layer meets what lies under it: opacity, blend modes, and a backdrop that may itself be transparent."""

import numpy as np

from bfs_model.picture.compositing import composite

BLEND_MODES = ("normal", "multiply", "screen")


def blend(layer: np.ndarray, backdrop: np.ndarray, mode: str = "normal", opacity: float | int = 1.0) -> np.ndarray:
    """Lay `layer` over `backdrop`, both straight RGBA float [H, W, 4] in display-referred sRGB; returns the same.

    Over an opaque backdrop and in mode normal this is Eq. 1 exactly. For the rest see W3C Compositing and Blending
    Level 1, sections 9 (mixing) and 5.1 (source over), which image editors share. The backdrop's colour comes out
    bit-identical wherever the layer's alpha is 0.
    """
    source_alpha, under_alpha = layer[..., 3:4] * np.float32(opacity), backdrop[..., 3:4]
    colour, under = layer[..., :3], backdrop[..., :3]
    if mode == "multiply":
        colour = (1 - under_alpha) * colour + under_alpha * (colour * under)
    elif mode == "screen":
        colour = (1 - under_alpha) * colour + under_alpha * (colour + under - colour * under)
    else:
        assert mode == "normal", mode
    alpha = source_alpha + under_alpha * (1 - source_alpha)  # exactly 1 over an opaque backdrop: a + (1 − a) rounds to 1
    # Source over, divided by the resulting alpha, is Eq. 1 with this share instead of the source's alpha.
    share = np.divide(source_alpha, alpha, out=np.zeros_like(alpha), where=source_alpha > 0)
    return np.concatenate([composite(np.concatenate([colour, share], axis=-1), under), alpha], axis=-1)
