"""Object mask → layer: alpha by closed-form matting (Levin et al. 2008), then the foreground's own colours (Germer et al. 2020)."""

import os
from typing import Protocol

import numpy as np

from bfs_platform.data.record import Reason, Reject
from bfs_platform.data.spec import MattingSpec
from bfs_platform.data.stage.fit import MASK_LEVEL


class Matting(Protocol):
    """Cuts an object out of a picture."""

    def cut_out(self, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Args: `picture` uint8 [H, W, 3], `mask` uint8 [H, W]. Returns straight RGBA float32 [H, W, 4], 0 outside the object."""
        ...


class ClosedFormMatting:
    """Needs no weights. A band around the mask's edge is unknown; colours are estimated before anything is composited,
    or the old background would shine through as a halo."""

    def __init__(self, spec: MattingSpec) -> None:
        self.spec = spec

    def cut_out(self, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
        one_thread()
        # Compiled by numba on first use: imported here, so that only processes that cut pay for it.
        from pymatting import estimate_alpha_cf

        image = picture.astype(np.float64) / 255
        known = trimap(mask, self.spec)
        try:
            alpha = estimate_alpha_cf(image, known) if (known == 0.5).any() else known
        except ValueError as error:
            raise Reject(Reason.MATTING_FAILED, f"closed-form matting: {error}") from None
        return with_own_colours(image, np.where(known == 0, 0, alpha))


class MaskMatting:
    """The object as its mask shows it, with the picture's colours."""

    def cut_out(self, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.dstack([picture, mask]).astype(np.float32) / 255


def with_own_colours(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """RGB [H, W, 3] and alpha [H, W] in [0, 1] → straight RGBA float32 with the object's own colours, the old background taken out."""
    one_thread()
    from pymatting import estimate_foreground_ml

    colours = estimate_foreground_ml(image.astype(np.float32), alpha.astype(np.float32))
    return np.dstack([np.clip(colours, 0, 1), alpha]).astype(np.float32)


def one_thread() -> None:
    """Records are worked on side by side in processes; numba's threads would only wait for each other's cores.

    Call it before numba is imported: it would also set the number of OpenMP's threads, and with them torch's, which then takes
    four times as long for a small model.
    """
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    from numba import set_num_threads

    set_num_threads(1)


def matting(spec: MattingSpec) -> Matting:
    """The provider that works record by record. ViTMatte is a model of the build and has cut the layers before this is asked."""
    return MaskMatting() if spec.kind == "mask" else ClosedFormMatting(spec)


def trimap(mask: np.ndarray, spec: MattingSpec) -> np.ndarray:
    """1 object, 0 not, 0.5 unknown: a band of `band_fraction`·√area pixels to each side of the mask's edge. float64 [H, W].

    The core of an object thinner than the band stays known, so that there is always something to start from.
    """
    from scipy.ndimage import distance_transform_edt

    inside = mask >= MASK_LEVEL
    band = int(np.clip(round(spec.band_fraction * np.sqrt(inside.sum())), 1, spec.max_band))
    # Distances to the nearest pixel of the other side; the frame of the picture is no edge.
    depth = distance_transform_edt(inside)
    height = distance_transform_edt(~inside)
    known = np.full(mask.shape, 0.5)
    known[depth > min(band, 0.75 * depth.max())] = 1
    known[height > band] = 0
    return known
