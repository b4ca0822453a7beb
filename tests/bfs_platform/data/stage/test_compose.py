"""One record through all pixel stages."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bfs_model.picture.compositing import composite_u8
from bfs_platform.data.record import Part, Reason, Reject
from bfs_platform.data.source.base import open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.data.spec import DataSpec, ShadowSpec
from bfs_platform.data.stage.compose import Composer, Sample
from bfs_platform.data.stage.decode import decode


def make(spec: DataSpec, root: Path, index: int = 2) -> Sample:
    row = list(open_source("rorem", root).rows())[index]
    return Composer(spec)(row, lambda part: read_part(root, part))


def changed(spec: DataSpec, **values: object) -> DataSpec:
    return spec.model_copy(update=values)


def test_stage_one_recomposes_exactly(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """Ĉ is F̂ over B to the last level, the background is the source's own, and the object is where it was."""
    root = rorem_seven
    for index in range(7):
        sample = make(pixel_spec, root, index)
        np.testing.assert_array_equal(composite_u8(sample.foreground, sample.background), sample.composite)
        row = list(open_source("rorem", root).rows())[index]
        record = decode(row, lambda part: read_part(root, part), 10_000)
        np.testing.assert_array_equal(sample.background, record.background)
        solid = sample.foreground[..., 3] == 255
        assert solid.sum() > 20
        assert np.abs(sample.composite[solid].astype(int) - record.composite[solid]).mean() < 3


def test_stage_one_adds_shadow_beyond_the_object(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """The layer reaches beyond the object by a dark, half transparent region; without shadow provider it does not."""
    with_shadow = make(pixel_spec, rorem_seven)
    without = make(changed(pixel_spec, shadow=ShadowSpec(kind="none")), rorem_seven)
    new = (with_shadow.foreground[..., 3] > 0) & (without.foreground[..., 3] == 0)
    assert new.sum() > 15
    assert with_shadow.foreground[..., 3][new].max() < 255
    assert without.foreground[..., 3][without.object_mask == 255].mean() > 200


def test_the_sources_own_effects_give_its_picture_back(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """With shadow.kind=dataset, F̂ over B is the source's picture within a level on object and effects, and B itself elsewhere."""
    for index in range(7):
        sample = make(changed(pixel_spec, shadow=ShadowSpec(kind="dataset")), rorem_seven, index)
        record = decode(list(open_source("rorem", rorem_seven).rows())[index], lambda part: read_part(rorem_seven, part), 10_000)
        assert record.effect_mask is not None
        effect, alpha = record.effect_mask > 127, sample.foreground[..., 3]
        shown = effect | (alpha > 0)
        difference = np.abs(sample.composite.astype(int) - record.composite)
        assert difference[shown].max() <= 1
        assert (alpha[effect] > 0).mean() > 0.9
        assert 0 < np.median(alpha[effect & (record.object_mask < 128)]) < 200
        np.testing.assert_array_equal(sample.composite[~shown], sample.background[~shown])


def test_own_effects_need_their_region(pixel_spec: DataSpec, rorem: Callable[..., Path]) -> None:
    """A source without effect masks is rejected for that reason, and the remedy is named."""
    root = rorem(1)
    entries = json.loads((root / "meta.json").read_text())
    (root / "meta.json").write_text(json.dumps([{k: v for k, v in entry.items() if k != "effect"} for entry in entries]))
    with pytest.raises(Reject, match=r"another shadow\.kind") as caught:
        make(changed(pixel_spec, shadow=ShadowSpec(kind="dataset")), root, 0)
    assert caught.value.reason == Reason.NO_EFFECT_MASK


def test_stage_two_keeps_the_photograph(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """C is the source's picture bit for bit; S is the matte of the object alone, without its shadow."""
    sample = make(changed(pixel_spec, stage=2), rorem_seven)
    row = list(open_source("rorem", rorem_seven).rows())[2]
    record = decode(row, lambda part: read_part(rorem_seven, part), 10_000)
    np.testing.assert_array_equal(sample.composite, record.composite)
    assert record.effect_mask is not None
    shadow = (record.effect_mask > 0) & (record.object_mask == 0)
    assert sample.foreground[..., 3][shadow].mean() < 30


def test_random_choices_depend_on_seed_and_id_alone(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """The same record gives the same sample whatever was made before it; another seed another one."""
    composer = Composer(pixel_spec)
    rows = list(open_source("rorem", rorem_seven).rows())

    def fetch(part: Part) -> bytes:
        return read_part(rorem_seven, part)

    forward = [composer(row, fetch) for row in rows[:3]]
    backward = [composer(row, fetch) for row in reversed(rows[:3])][::-1]
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a.foreground, b.foreground)
        assert a.box == b.box
    other = make(changed(pixel_spec, seed=8), rorem_seven, 0)
    assert not np.array_equal(other.foreground, forward[0].foreground)


def test_box_is_loosened_around_the_mask(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """M̂ holds the tight box and is recorded with it."""
    sample = make(pixel_spec, rorem_seven, 4)
    assert sample.box.x0 <= sample.tight_box.x0 and sample.box.y1 >= sample.tight_box.y1
    ys, xs = np.nonzero(sample.object_mask)
    assert sample.tight_box.x0 == xs.min() and sample.tight_box.y1 == ys.max() + 1


def test_colours_reach_under_alpha_zero(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """Stored layers are padded: far from the object, colours are the object's, not black."""
    sample = make(changed(pixel_spec, shadow=ShadowSpec(kind="none")), rorem_seven)
    corner = sample.foreground[0, 0]
    assert corner[3] == 0 and corner[:3].max() > 60


def test_captions_come_first(pixel_spec: DataSpec, rorem_seven: Path) -> None:
    """A record without caption is rejected before its pictures are read."""
    row = next(iter(open_source("rorem", rorem_seven).rows()))

    def must_not_read(part: Part) -> bytes:
        raise AssertionError(part)

    from dataclasses import replace

    with pytest.raises(Reject) as caught:
        Composer(pixel_spec)(replace(row, caption=""), must_not_read)
    assert caught.value.reason == Reason.EMPTY_CAPTION
