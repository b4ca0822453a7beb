"""Orders of each kind, from blobs to blobs."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model import LayerStack
from bfs_model.document import file as documents
from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_serve.job.engine import Pin
from bfs_serve.job.kinds import task_of
from bfs_serve.job.orders import DocumentOrder, ExportOrder, ExtractionOrder, LayerEdit, LayerOrder, Order, SceneLayer, parse
from bfs_serve.job.results import Result
from bfs_serve.job.tasks import composed
from bfs_serve.model.fake import FakeEngine, disc
from bfs_serve.store.blobs import Blobs

SIZE = {"width": 48, "height": 32}


@pytest.mark.parametrize("box", [(3, 5, 40, 30), (0, 0, 48, 32), (47, 31, 48, 32), None])
def test_composing_where_the_layer_shows_is_composing_everywhere(box: tuple[int, int, int, int] | None) -> None:
    """Bitwise, also for a layer that shows nothing; the background is not written into."""
    rng = np.random.default_rng(0)
    layer, background = rng.integers(0, 256, (32, 48, 4), np.uint8), rng.integers(0, 256, (32, 48, 3), np.uint8)
    shown = np.zeros((32, 48), bool)
    if box is not None:
        shown[box[1] : box[3], box[0] : box[2]] = True
    layer[~shown, 3] = 0
    before = background.copy()
    np.testing.assert_array_equal(composed(layer, background), composite_u8(layer, background))
    np.testing.assert_array_equal(background, before)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"))


def done(order: Order, blobs: Blobs, steps: list[tuple[int, int]] | None = None) -> Result:
    """Carry an order out, as it comes back from the store."""
    task = task_of(parse(order.kind, order.model_dump(mode="json")))
    task.prepare(blobs)
    engine = FakeEngine("fake", Pin("fake", "v"))
    task.draw(engine, lambda step, total, preview: steps.append((step, total)) if steps is not None else None, lambda: False)
    result = task.deliver(blobs)
    assert all(blobs.has(blob) for blob in result.blobs)
    return Result.model_validate(result.model_dump(mode="json"))


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_split_effects_gives_both_parts(blobs: Blobs, make_png: Callable[..., bytes]) -> None:
    """And only where they are asked for."""
    plain = LayerOrder(**SIZE, background=blobs.put(make_png()), box=(8, 4, 40, 28), prompt="a ball", seed=7)
    (whole,), (split,) = (done(o, blobs).pictures for o in (plain, plain.model_copy(update={"split_effects": True})))
    assert whole.object is None and whole.effects is None and whole.layer == split.layer
    assert split.object and picture(blobs.get(split.object))[..., 3].max() == 255


def test_an_extraction(blobs: Blobs, make_png: Callable[..., bytes]) -> None:
    """Two pictures of one size."""
    order = ExtractionOrder(**SIZE, composite=blobs.put(make_png(seed=1)), background=blobs.put(make_png()), box=(8, 4, 40, 28), seed=7)
    (drawn,) = done(order, blobs).pictures
    assert np.array_equal(picture(blobs.get(drawn.layer)), disc(48, 32, (8, 4, 40, 28), 7, ""))


def scene(blobs: Blobs, make_png: Callable[..., bytes]) -> DocumentOrder:
    layers = (
        SceneLayer(name="ball", box=(2, 2, 20, 20), prompt="red", seed=1),
        SceneLayer(name="cup", box=(10, 8, 40, 30), prompt="blue", seed=2),
    )
    return DocumentOrder(**SIZE, background=blobs.put(make_png()), layers=layers)


def test_a_document_of_several_layers_and_one_drawn_anew(blobs: Blobs, make_png: Callable[..., bytes]) -> None:
    """Progress counts all steps; a redraw leaves the other layers' bytes as they are."""
    steps: list[tuple[int, int]] = []
    order = scene(blobs, make_png)
    first = done(order, blobs, steps)
    assert steps == [(n, 8) for n in range(1, 9)]
    assert [layer["id"] for layer in first.layers] == ["background", "ball", "cup"]
    assert first.document is not None
    changed = order.layers[0], order.layers[1].model_copy(update={"seed": 3})
    again = done(order.model_copy(update={"layers": changed, "redraw": "cup", "document": first.document}), blobs)
    before, after = (documents.decode(blobs.get(str(result.document))) for result in (first, again))
    assert np.array_equal(before["ball"].rgba, after["ball"].rgba) and not np.array_equal(before["cup"].rgba, after["cup"].rgba)
    assert (after["cup"].seed, [layer["seed"] for layer in again.layers]) == (3, [None, 1, 3])


def export(blobs: Blobs, make_png: Callable[..., bytes], **changes: Any) -> LayerStack:
    document = done(scene(blobs, make_png), blobs).document
    assert document is not None
    result = done(ExportOrder(**SIZE, document=document, **changes), blobs)
    return documents.decode(blobs.get(str(result.document)))


def test_edits_are_applied_one_after_the_other(blobs: Blobs, make_png: Callable[..., bytes]) -> None:
    """Moved, scaled about the centre, faded, blended, renamed, removed, reordered; the picture is what the layers make."""
    untouched = export(blobs, make_png)
    edits = (
        LayerEdit(layer="ball", x=5, y=6, opacity=0.5, blend_mode="multiply"),
        LayerEdit(layer="cup", scale=0.5, name="small cup"),
    )
    stack = export(blobs, make_png, edits=edits, order=("background", "cup", "ball"))
    assert [layer.id for layer in stack] == ["background", "cup", "ball"]
    ball, cup = stack["ball"], stack["cup"]
    assert (ball.x, ball.y, ball.opacity, ball.blend_mode) == (5, 6, 0.5, "multiply")
    assert (cup.width, cup.name) == (round(untouched["cup"].width / 2), "small cup")
    centre = untouched["cup"].x + untouched["cup"].width / 2
    assert abs(cup.x + cup.width / 2 - centre) <= 1
    assert len(export(blobs, make_png, edits=(LayerEdit(layer="ball", remove=True),))) == 2


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"edits": (LayerEdit(layer="none", x=1),)}, "edits\\[0\\].layer"),
        ({"edits": (LayerEdit(layer="ball", blend_mode="glow"),)}, "edits\\[0\\].blend_mode"),
        ({"order": ("ball", "cup")}, "order"),
        ({"edits": (LayerEdit(layer="ball", scale=1.5), LayerEdit(layer="cup", scale=2.0))}, "edits\\[1\\].scale"),
        ({"edits": tuple(LayerEdit(layer=name, remove=True) for name in ("background", "ball", "cup"))}, "edits"),
    ],
)
def test_an_edit_that_cannot_be_is_named(
    blobs: Blobs, make_png: Callable[..., bytes], changes: dict[str, Any], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the edit's number: one that makes the layers larger together than there is room for, too, though each alone is not."""
    monkeypatch.setattr("bfs_serve.job.export._MAX_PIXELS", 4400)
    with pytest.raises(BadInput, match=key):
        export(blobs, make_png, **changes)


def test_a_picture_is_a_document_of_one_layer(blobs: Blobs, make_png: Callable[..., bytes]) -> None:
    """Any picture becomes a background; a PNG of one drawn layer stays that layer, cut to what it shows."""
    plain = done(ExportOrder(**SIZE, document=blobs.put(make_png(kind="JPEG"))), blobs)
    assert [(entry["role"], entry["width"], entry["height"]) for entry in plain.layers] == [("background", 48, 32)]
    stack = LayerStack(48, 32)
    layer = stack.add(disc(48, 32, (8, 4, 40, 28), 7, "a ball"), box=(8, 4, 40, 28), prompt="a ball", seed=7, name="ball")
    alone = documents.formats()[".png"].write_layer
    assert alone is not None
    (told,) = done(ExportOrder(**SIZE, document=blobs.put(alone(stack, layer))), blobs).layers
    assert (told["role"], told["name"], told["prompt"], told["seed"], told["box"]) == ("foreground", "ball", "a ball", 7, [8, 4, 40, 28])
    assert (told["x"], told["y"], told["width"], told["height"]) == (layer.x, layer.y, layer.width, layer.height)


def test_a_layer_is_split_after_the_fact(blobs: Blobs, make_png: Callable[..., bytes]) -> None:
    """Two layers in its place, which give the same picture; what cannot be split is refused with the edit's name."""
    whole = done(scene(blobs, make_png), blobs)
    assert whole.document is not None
    order = ExportOrder(**SIZE, document=whole.document, edits=(LayerEdit(layer="ball", split_effects=True),))
    split = done(order, blobs)
    assert [entry["part"] for entry in split.layers if entry["group"] == "ball"] == ["effects", "object"]
    before, after = (picture(blobs.get(str(result.composite))).astype(int) for result in (whole, split))
    assert np.abs(before - after).max() <= 1
    wrong = order.model_copy(update={"edits": (LayerEdit(layer="background", split_effects=True),)})
    with pytest.raises(BadInput, match=r"edits\[0\].split_effects"):
        done(wrong, blobs)


@pytest.mark.parametrize("suffix", [".zip", ".ora"])
@pytest.mark.parametrize("redrawn", [False, True], ids=["export", "redraw"])
def test_blank_layers_take_no_memory_without_end(
    blobs: Blobs, make_png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, suffix: str, redrawn: bool
) -> None:
    """A small file of layers that are large where they are read is refused before all of them are."""
    stack = LayerStack(16, 16)
    for _ in range(4):
        stack.add(np.full((16, 16, 4), 255, np.uint8))
    document = blobs.put(documents.encode(stack, suffix))
    order: Order = ExportOrder(width=16, height=16, document=document)
    if redrawn:
        layer = SceneLayer(name="a", box=(1, 1, 9, 9), prompt="a ball", seed=1)
        order = DocumentOrder(**SIZE, background=blobs.put(make_png()), layers=(layer,), document=document, redraw="a")
    monkeypatch.setattr("bfs_serve.job.tasks.MAX_DOCUMENT_PIXELS", 3 * 256)
    monkeypatch.setattr("bfs_serve.job.export.MAX_DOCUMENT_PIXELS", 3 * 256)
    with pytest.raises(BadInput, match="pixels"):
        task_of(parse(order.kind, order.model_dump(mode="json"))).prepare(blobs)
    monkeypatch.setattr("bfs_serve.job.tasks.MAX_DOCUMENT_PIXELS", 4 * 256)
    monkeypatch.setattr("bfs_serve.job.export.MAX_DOCUMENT_PIXELS", 4 * 256)
    task_of(parse(order.kind, order.model_dump(mode="json"))).prepare(blobs)
