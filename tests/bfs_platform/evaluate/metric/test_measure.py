"""Systems on scenes whose truth is known: baselines, the fake, and what is measured of them."""

import io

import numpy as np
import pytest
from PIL import Image

from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.metric.catalogue import EDITING, EXTRACTION, METRICS
from bfs_platform.evaluate.metric.measure import measure
from bfs_platform.evaluate.metric.summary import by_group, summarise
from bfs_platform.evaluate.report.pictures import KINDS, pictures
from bfs_platform.evaluate.samples import Sample, list_entries, read_sample
from bfs_platform.evaluate.system.baselines import find_baseline
from bfs_platform.evaluate.system.fakes import FakeDisc
from bfs_platform.evaluate.system.models import Drawn, loader
from bfs_platform.evaluate.system.truth import Identity, Model, Truth, least_layer


@pytest.fixture
def sample(make_source) -> Sample:
    """One scene: an 8×8 object and a 4×8 shadow on 24×24."""
    root = make_source(1)
    return read_sample(list_entries(root)[0], root, 10**6)


def test_the_truth_is_a_ceiling(sample) -> None:
    """The least layer gives the true composite to within rounding, covers object and shadow and nothing else."""
    figures = measure(Truth().predict(sample, 0, None), sample, 0.05)
    assert set(figures) == set(METRICS) - {*EXTRACTION, *EDITING}
    mae, ssim, psnr = figures["composite_mae"], figures["composite_ssim"], figures["region_psnr"]
    assert mae is not None and mae < 0.001 and ssim is not None and ssim > 0.999 and psnr is not None and psnr > 45
    assert figures["alpha_iou"] == 1
    assert figures["effect_recall"] == figures["effect_precision"] == 1
    assert figures["alpha_outside"] == figures["background_changed"] == 0


def test_identity_is_the_floor(sample) -> None:
    """An empty layer changes nothing: its error is the object and its shadow, and what needs a layer is undefined."""
    figures = measure(Identity().predict(sample, 0, None), sample, 0.05)
    change = np.abs(sample.truth.astype(float) - sample.background) / 255
    assert figures["composite_mae"] == pytest.approx(change.mean(), rel=1e-5)
    assert figures["region_mae"] == pytest.approx(change.sum() / 3 / 96, rel=1e-5), "object and shadow are 96 pixels"
    assert (figures["alpha_iou"], figures["effect_recall"], figures["background_changed"]) == (0, 0, 0)
    assert figures["effect_precision"] is None and figures["alpha_outside"] is None


def test_a_known_layer(sample) -> None:
    """A layer that covers the left half of the object and the whole strip below it, by hand."""
    layer = np.zeros((24, 24, 4), np.uint8)
    layer[8:16, 6:10] = (200, 30, 40, 255)
    layer[16:18, 6:14, 3] = 128
    composite = composite_u8(layer, sample.background)
    composite[0, 0] += 1
    figures = measure(Drawn(Image.fromarray(layer), Image.fromarray(composite)), sample, 0.05)
    strip = 16 * 128 / 255
    assert figures["alpha_iou"] == pytest.approx(32 / (64 + 16)), "128/255 counts as covered"
    assert figures["effect_recall"] == 0 and figures["effect_precision"] == 0
    assert figures["alpha_outside"] == pytest.approx(strip / (32 + strip))
    assert figures["background_changed"] == pytest.approx(1 / (24 * 24 - 32 - 16)), "the delivered composite is what is checked"


def test_unknown_effects_are_not_measured(make_source) -> None:
    """Without an effect region its recall and precision stay undefined, and the region is the box."""
    root = make_source(1, extras=False)
    plain = read_sample(list_entries(root)[0], root, 10**6)
    figures = measure(Truth().predict(plain, 0, None), plain, 0.05)
    assert figures["effect_recall"] is None and figures["effect_precision"] is None and figures["alpha_iou"] == 1


def test_a_wrong_size_is_an_error(sample) -> None:
    """A system that delivers another size is at fault, and is not silently scaled."""
    drawn = Drawn(Image.new("RGBA", (12, 24)), Image.new("RGB", (24, 24)))
    with pytest.raises(ValueError, match="delivered RGBA"):
        measure(drawn, sample, 0.05)


def test_the_least_layer_explains_darkening_and_lightening() -> None:
    """Half as bright needs half a layer of black; half-way to white, half of white; unchanged, none."""
    background = np.full((1, 4, 3), 100, np.uint8)
    composite = np.array([[[50] * 3, [178] * 3, [100] * 3, [7, 8, 9]]], np.uint8)
    object_mask = np.array([[False, False, False, True]])
    layer = least_layer(composite, background, object_mask, np.array([[True, True, True, False]]))
    np.testing.assert_array_equal(layer[0, :, 3], [128, 129, 0, 255])
    assert layer[0, 0, :3].max() <= 1 and layer[0, 1, :3].min() >= 253
    np.testing.assert_array_equal(layer[0, 3, :3], [7, 8, 9])
    assert np.abs(composite_u8(layer, background).astype(int) - composite).max() <= 1


def test_the_fake_draws_by_seed(sample) -> None:
    """The stand-in depends on the record's seed, as a sampler does."""
    model = Model(FakeDisc())
    first, again, other = (np.asarray(model.predict(sample, seed, None).layer) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_plug_ins_are_found_or_named() -> None:
    """Baselines by name or by import path; what cannot be imported is one line."""
    assert isinstance(find_baseline("identity")(FakeDisc()), Identity)
    assert find_baseline("bfs_platform.evaluate.system.baselines:Model") is Model
    assert isinstance(loader("bfs_platform.evaluate.system.fakes:load_fake_disc")("any"), FakeDisc)
    for name in ("idenity", "bfs_platform.evaluate.nowhere:x", "json:nothing", "bfs_platform.evaluate.metric.catalogue:METRICS"):
        with pytest.raises(ValueError, match="cannot be imported|is not a function"):
            find_baseline(name)


def test_pictures_are_enlarged_without_smoothing(sample) -> None:
    """A 24-pixel scene becomes 8 × 24 pixels with the same colours; the error is four times the difference."""
    drawn = Identity().predict(sample, 0, None)
    shown = pictures(drawn, sample, 192)
    assert tuple(shown) == KINDS
    images = {kind: np.asarray(Image.open(io.BytesIO(data))) for kind, data in shown.items()}
    assert all(image.shape[:2] == (192, 192) for image in images.values())
    np.testing.assert_array_equal(images["truth"][::8, ::8], sample.truth)
    difference = np.abs(sample.truth.astype(int) - sample.background).max(axis=-1)
    np.testing.assert_array_equal(images["error"][::8, ::8], np.minimum(4 * difference, 255))
    assert tuple(images["background"][8 * 8, 6 * 8]) == (255, 64, 0), "the box is drawn"


def test_large_pictures_are_reduced(sample) -> None:
    """A picture larger than the wanted side shrinks to it."""
    shown = pictures(Identity().predict(sample, 0, None), sample, 16)
    assert all(Image.open(io.BytesIO(data)).size == (16, 16) for data in shown.values())


def test_summary() -> None:
    """Mean, sample deviation and count, over the records where a metric is defined."""
    figures = [{"alpha_iou": 0.2}, {"alpha_iou": 0.6}, {"alpha_iou": None}]
    summary = summarise(figures)
    assert summary["alpha_iou"] == pytest.approx({"mean": 0.4, "std": 0.08**0.5, "min": 0.2, "max": 0.6, "n": 2})
    assert summary["region_mae"] == {"mean": None, "std": None, "min": None, "max": None, "n": 0}
    assert summarise(figures[:1])["alpha_iou"]["std"] is None


def test_groups() -> None:
    """Each value of a key has its own summary; records without the key or without a result stay out."""
    rows = [
        {"groups": {"material": "glass"}, "systems": {"model": {"alpha_iou": 0.5}}},
        {"groups": {"material": "metal"}, "systems": {"model": {"alpha_iou": 1.0}}},
        {"groups": {"material": "metal"}, "systems": {}},
        {"groups": {}, "systems": {"model": {"alpha_iou": 0.0}}},
    ]
    groups = by_group(rows, ["material", "colour"])
    assert set(groups) == {"material"} and set(groups["material"]) == {"glass", "metal"}
    assert groups["material"]["metal"]["alpha_iou"]["mean"] == 1.0 and groups["material"]["metal"]["alpha_iou"]["n"] == 1
