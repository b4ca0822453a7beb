"""Figures of an extracted layer, held against the true one.

The true layer is the one of least alpha that explains the picture (`truth.least_layer`): on the tabletop world its object is
known, and a shadow is black with the share of light that it takes.
"""

import numpy as np

from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.metric import metrics
from bfs_platform.evaluate.metric.measure import Figures
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn
from bfs_platform.evaluate.system.truth import least_layer


def extraction_figures(drawn: Drawn, sample: Sample) -> Figures:
    """Errors of the layer's alpha and of the recomposed picture, over the object, and over its effects beside it."""
    layer = np.asarray(drawn.layer)
    true = least_layer(sample.truth, sample.background, sample.object_mask, sample.effect)
    error = np.abs(layer[..., 3] / 255.0 - true[..., 3] / 255.0)
    picture = composite_u8(layer, sample.background) / 255.0
    truth = sample.truth / 255.0
    beside = None if sample.effect is None else sample.effect & ~sample.object_mask
    covered = sample.object_mask if beside is None else sample.object_mask | beside
    return {
        "alpha_error_object": metrics.mae(error, np.zeros_like(error), sample.object_mask),
        "alpha_error_effect": None if beside is None else metrics.mae(error, np.zeros_like(error), beside),
        "alpha_error_elsewhere": metrics.mae(error, np.zeros_like(error), ~covered),
        "object_mae": metrics.mae(picture, truth, sample.object_mask),
        "effect_mae": None if beside is None else metrics.mae(picture, truth, beside),
    }
