"""Where the clean background comes from: the dataset's own, or filled in from around the object."""

from typing import Protocol

import numpy as np

from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.spec import BackgroundSpec
from bfs_platform.data.stage.fit import MASK_LEVEL


class BackgroundProvider(Protocol):
    """Gives the picture without the object."""

    def background(self, record: Record) -> np.ndarray:
        """uint8 [H, W, 3], of the composite's size. Raises `Reject` when there is none."""
        ...


class DatasetBackground:
    """The source's own."""

    def background(self, record: Record) -> np.ndarray:
        if record.background is None:
            raise Reject(Reason.NO_BACKGROUND, "the source has no clean background; set background.kind=harmonic to fill it in")
        return record.background


class HarmonicFill:
    """Needs no weights: under the grown mask, each channel is the smoothest surface that meets the surroundings (∇²B = 0).

    It removes the object and, within `margin`, its contact shadow; it invents no texture. Effects that reach farther stay.
    """

    def __init__(self, spec: BackgroundSpec) -> None:
        self.spec = spec

    def background(self, record: Record) -> np.ndarray:
        from scipy.ndimage import distance_transform_edt

        if record.whole_layer and record.background is not None:
            return record.background  # what the given layer was laid over
        # Where the source shows the object without its shadow, the ground around it is known.
        picture = record.composite if record.shadow_free is None else record.shadow_free
        inside = record.object_mask >= MASK_LEVEL
        if not inside.any() or inside.all():
            return picture
        hole = distance_transform_edt(~inside) <= self.spec.margin * np.sqrt(inside.sum())
        return picture if hole.all() else harmonic(picture, hole)


def provider(spec: BackgroundSpec) -> BackgroundProvider:
    """The provider that a recipe names."""
    return HarmonicFill(spec) if spec.kind == "harmonic" else DatasetBackground()


def harmonic(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Solve Laplace's equation in `hole` [H, W] (bool) of `picture` uint8 [H, W, 3]; the frame of the picture lets nothing through."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import splu

    number = np.full(hole.shape, -1)
    number[hole] = np.arange(hole.sum())
    rows, columns, degree = [], [], np.zeros(int(hole.sum()))
    known = np.zeros((len(degree), 3))
    ys, xs = np.nonzero(hole)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        within = (y >= 0) & (y < hole.shape[0]) & (x >= 0) & (x < hole.shape[1])
        here = np.flatnonzero(within)
        y, x = y[here], x[here]
        degree[here] += 1
        unknown = hole[y, x]
        rows.append(here[unknown])
        columns.append(number[y[unknown], x[unknown]])
        known[here[~unknown]] += picture[y[~unknown], x[~unknown]]
    diagonal = np.arange(len(degree))
    index = (np.concatenate([diagonal, *rows]), np.concatenate([diagonal, *columns]))
    values = np.concatenate([degree, -np.ones(sum(len(r) for r in rows))])
    solution = splu(csr_matrix((values, index), shape=(len(degree), len(degree))).tocsc()).solve(known)
    out = picture.copy()
    out[hole] = np.rint(np.clip(solution, 0, 255)).astype(np.uint8)
    return out
