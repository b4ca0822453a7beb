"""Layers edited by compositing alone, and how far they are from the scene that was edited itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.metric.editing import edited, recoloured, transformed
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.samples import list_entries, list_hash
from bfs_platform.evaluate.spec import EvaluationSpec

STAYS: dict[str, Any] = {"scale": 1.0, "origin": [0.5, 0.5], "target": [0.5, 0.5], "kept": False, "colours": None}
RED, BLUE = (0.7, 0.025, 0.025), (0.025, 0.08, 0.62)


def square(side: int = 24) -> np.ndarray:
    """A red square of 8×8 with a half-clear black strip of 8×4 right of it."""
    layer = np.zeros((side, side, 4), np.uint8)
    layer[8:16, 6:14] = (200, 40, 40, 255)
    layer[8:16, 14:18] = (0, 0, 0, 128)
    return layer


def test_a_layer_moves_by_whole_pixels_as_its_array_does() -> None:
    """A quarter of 24 pixels to the left and an eighth down: bit by bit; nothing comes in at the edges."""
    moved = transformed(square(), 1.0, [0.5, 0.5], [0.25, 0.625])
    expected = np.roll(square(), (3, -6), axis=(0, 1))
    np.testing.assert_array_equal(moved[..., 3], expected[..., 3])
    np.testing.assert_array_equal(moved[expected[..., 3] > 0], expected[expected[..., 3] > 0])
    assert transformed(square(), 1.0, [0.2, 0.2], [0.2, 0.2]) is not None and not transformed(square(), 1.0, [0, 0], [2, 0])[..., 3].any()


def test_a_layer_scales_around_its_foot() -> None:
    """Half as large around the middle of the square's lower edge: that point stays, and a quarter of the area is left."""
    scaled = transformed(square(), 0.5, [10 / 24, 16 / 24], [10 / 24, 16 / 24])
    opaque = np.argwhere(scaled[..., 3] > 250)
    assert opaque.max(axis=0)[0] == 15 and opaque.min(axis=0)[0] in (12, 13)
    assert scaled[..., 3].astype(int).sum() == pytest.approx(square()[..., 3].astype(int).sum() / 4, rel=0.05)
    inside = scaled[scaled[..., 3] > 250]
    assert np.abs(inside[:, :3].astype(int) - (200, 40, 40)).max() <= 2, "no clear pixel bleeds in"


def test_a_copy_stands_in_front_of_what_appears_smaller() -> None:
    """The layer over its smaller copy, and under its larger one."""
    background = np.full((24, 24, 3), 90, np.uint8)
    where = STAYS | {"kept": True, "target": [0.5 + 2 / 24, 0.5]}
    below = transformed(square(), 0.9, where["origin"], where["target"])
    np.testing.assert_array_equal(
        edited(square(), background, where | {"scale": 0.9}), composite_u8(square(), composite_u8(below, background))
    )
    above = transformed(square(), 1.1, where["origin"], where["target"])
    np.testing.assert_array_equal(
        edited(square(), background, where | {"scale": 1.1}), composite_u8(above, composite_u8(square(), background))
    )


def test_a_recoloured_layer_keeps_its_shading_its_highlights_and_its_shadow() -> None:
    """Pixels of s · red + w · white become s · blue + w · white, within rounding; black stays black; alpha is untouched."""
    from bfs_platform.tabletop.edits import _exchange

    shading, white = np.linspace(0.1, 0.9, 8)[:, None], np.array([0.0, 0.1] * 4)[:, None]

    def layer(colour: tuple[float, float, float]) -> np.ndarray:
        linear = shading * np.array(colour) + white
        srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
        pixels = np.zeros((3, 8, 4), np.uint8)
        pixels[0, :, :3], pixels[..., 3] = np.rint(srgb * 255), 100
        return pixels

    changed = recoloured(layer(RED), _exchange(RED, BLUE))
    assert np.abs(changed.astype(int) - layer(BLUE)).max() <= 4 and not changed[1:, :, :3].any() and (changed[..., 3] == 100).all()


def test_the_true_layer_edits_better_than_one_without_effects(make_source: Callable[..., Path]) -> None:
    """Records with edits get their figures, others none; the true layer makes the moved scene exactly; the list says what it holds."""
    root = make_source(3)
    plain = list_hash(list_entries(root))
    meta = json.loads((root / "meta.json").read_text())
    for index in (0, 1):
        source, background = (np.asarray(Image.open(root / meta[index][kind])) for kind in ("source", "GT"))
        moved = background.copy()
        moved[11:19, 0:12] = source[8:16, 6:18] * (background[11:19, 0:12] / background[8:16, 6:18])  # the ramp shines through the shadow
        moved[11:19, 0:8] = source[8:16, 6:14]
        (root / "edit_move").mkdir(exist_ok=True)
        Image.fromarray(moved).save(root / f"edit_move/{index}.png")
        meta[index]["edits"] = {"move": STAYS | {"picture": f"edit_move/{index}.png", "target": [0.25, 0.625]}}
    (root / "meta.json").write_text(json.dumps(meta))
    entries = list_entries(root)
    assert list_hash(entries) != plain and type(entries[0]).from_json(entries[0].to_json()) == entries[0]
    spec = EvaluationSpec(loader="bfs_platform.evaluate.system.fakes:load_fake_disc", recogniser=None)
    rows = [Evaluator("fake", root, spec).evaluate(entry, False)[0]["systems"] for entry in entries]
    assert all(row["truth"]["edit_move_mae"] < 0.01 < row["model"]["edit_move_mae"] for row in rows[:2])
    assert "edit_move_mae" not in rows[2]["truth"]
