"""Every metric against a value computed by hand, or against a second, slower way to compute it."""

import math

import numpy as np
import pytest

from bfs_platform.evaluate.metric import metrics
from bfs_platform.evaluate.metric.catalogue import METRICS, is_worse_by


def flat(value: float, height: int = 13, width: int = 17) -> np.ndarray:
    """An image of one grey."""
    return np.full((height, width, 3), value, np.float32)


def mask(height: int = 13, width: int = 17, **slices: slice) -> np.ndarray:
    """A mask that is True in a rectangle."""
    out = np.zeros((height, width), bool)
    out[slices.get("rows", slice(None)), slices.get("columns", slice(None))] = True
    return out


def test_mae() -> None:
    """0.5 against 0.25 everywhere is 0.25; a region counts alone; an empty one is undefined."""
    truth = flat(0.25)
    image = truth.copy()
    image[:, :5] = 0.75
    left, right = mask(columns=slice(0, 5)), mask(columns=slice(5, None))
    assert metrics.mae(flat(0.5), truth) == pytest.approx(0.25)
    assert metrics.mae(image, truth, left) == pytest.approx(0.5) and metrics.mae(image, truth, right) == 0
    assert metrics.mae(image, truth) == pytest.approx(0.5 * 5 / 17)
    assert metrics.mae(image, truth, mask(rows=slice(0, 0))) is None


def test_psnr() -> None:
    """An error of 0.1 everywhere is 20 dB; none at all is capped at 100 dB."""
    assert metrics.psnr(flat(0.6), flat(0.5)) == pytest.approx(20, abs=1e-4)
    assert metrics.psnr(flat(0.5), flat(0.5)) == metrics.MAX_PSNR_DB
    assert metrics.psnr(flat(0.5), flat(0.5), mask(rows=slice(0, 0))) is None


def test_ssim_of_flat_images() -> None:
    """Without structure only the luminance term is left: (2ab + C1) / (a² + b² + C1)."""
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.04 + 0.16 + 1e-4)
    assert metrics.ssim(flat(0.2), flat(0.4)) == pytest.approx(expected, rel=1e-6)
    assert metrics.ssim(flat(0.3), flat(0.3)) == pytest.approx(1)
    assert metrics.ssim(flat(0.3, 10, 17), flat(0.3, 10, 17)) is None, "smaller than the window"


def test_ssim_against_the_definition() -> None:
    """At one pixel, an explicit 11×11 Gaussian window gives the same value; the mean leaves out the border."""
    rng = np.random.default_rng(3)
    x, y = rng.random((2, 13, 17, 3))
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    a, b = x[1:12, 2:13, 1], y[1:12, 2:13, 1]  # around row 6, column 7
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * a * a).sum() - mean_a**2, (weights * b * b).sum() - mean_b**2
    cov = (weights * a * b).sum() - mean_a * mean_b
    expected = (2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4) / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
    similarity = metrics.ssim_map(x, y)
    assert similarity[6, 7, 1] == pytest.approx(expected, rel=1e-9)
    assert metrics.ssim(x, y) == pytest.approx(similarity[5:-5, 5:-5].mean())
    assert metrics.ssim(x, y, mask(rows=slice(0, 2))) == pytest.approx(similarity[:2].mean())


def test_iou() -> None:
    """Two 2×6 stripes that share 2×3 pixels: 6 / 18. Two empty masks have none."""
    first, second = mask(rows=slice(0, 2), columns=slice(0, 6)), mask(rows=slice(0, 2), columns=slice(3, 9))
    assert metrics.iou(first, second) == pytest.approx(6 / 18)
    assert metrics.iou(first, first) == 1 and metrics.iou(first, ~first) == 0
    assert metrics.iou(first & ~first, first & ~first) is None


def test_effect_recall_and_precision() -> None:
    """Of 10 effect pixels 2 lie under the object; alpha covers 4 of the other 8, 3 elsewhere, and the object, which counts for neither."""
    object_mask, effect, alpha = np.zeros(20, bool), np.zeros(20, bool), np.zeros(20)
    object_mask[0:4], effect[2:12] = True, True
    alpha[0:8], alpha[12:15], alpha[15] = 0.3, 0.06, 0.05
    assert metrics.effect_recall(alpha, effect, object_mask, 0.05) == pytest.approx(4 / 8)
    assert metrics.effect_precision(alpha, effect, object_mask, 0.05) == pytest.approx(4 / 7)
    assert metrics.effect_recall(alpha, effect, np.ones(20, bool), 0.05) is None, "no effect beside the object"
    assert metrics.effect_precision(np.zeros(20), effect, object_mask, 0.05) is None, "nothing covered"


def test_alpha_outside() -> None:
    """Three pixels of 0.5 inside and one of 0.5 outside: a quarter. An empty layer has no share."""
    alpha, region = np.array([[0.5, 0.5, 0.5, 0.5, 0]]), np.array([[True, True, True, False, False]])
    assert metrics.alpha_outside(alpha, region) == pytest.approx(0.25)
    assert metrics.alpha_outside(alpha * 0, region) is None


def test_background_changed() -> None:
    """Of four pixels under alpha 0 one differs by one level in one channel; changes under the layer do not count."""
    background = np.full((1, 5, 3), 100, np.uint8)
    composite = background.copy()
    composite[0, 0] = 0
    composite[0, 3, 2] = 101
    alpha = np.array([[0.1, 0, 0, 0, 0]])
    assert metrics.background_changed(alpha, composite, background) == pytest.approx(1 / 4)
    assert metrics.background_changed(alpha, background, background) == 0
    assert metrics.background_changed(alpha + 1, composite, background) is None


def test_undefined_is_never_nan() -> None:
    """Empty regions give None, which stays out of a mean, and never NaN, which would spoil it."""
    nothing = mask(rows=slice(0, 0))
    values = [metrics.mae(flat(0), flat(1), nothing), metrics.ssim(flat(0), flat(1), nothing)]
    assert values == [None, None]
    defined = metrics.ssim(flat(0), flat(1))
    assert defined is not None and math.isfinite(defined)


@pytest.mark.parametrize(("name", "worse"), [("alpha_iou", 0.2), ("region_mae", -0.2), ("failed_fraction", -0.2)])
def test_which_way_is_worse(name, worse) -> None:
    """Falling from 0.7 to 0.5 is worse for a score and better for an error."""
    assert is_worse_by(name, 0.5, 0.7) == pytest.approx(worse)


def test_every_metric_has_a_direction_and_a_meaning() -> None:
    """The report and the gates rely on it."""
    assert all(metric.label and metric.meaning for metric in METRICS.values())
    errors = {name for name, metric in METRICS.items() if not metric.higher}
    extraction = {"alpha_error_object", "alpha_error_effect", "alpha_error_elsewhere", "object_mae", "effect_mae"}
    editing = {"edit_move_mae", "edit_scale_mae", "edit_recolour_mae", "edit_duplicate_mae"}
    assert errors == {"composite_mae", "region_mae", "alpha_outside", "background_changed"} | extraction | editing
