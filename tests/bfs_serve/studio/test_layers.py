"""The layers panel, files that are opened, and undo over everything."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from psd_tools import PSDImage
from studio_page import Studio

Visit = Callable[..., Studio]
# What a hand can do to a document, by key or by button; each may change it or leave it as it is.
_KEYS = ["ArrowLeft", "Shift+ArrowDown", "Control+d", "Delete", "Control+a", "Escape"]
_BUTTONS = ["Move up", "Move down", "Duplicate", "Group", "Ungroup", "Delete"]


def test_undo_is_exact_over_random_edits(visit: Visit) -> None:
    """Thirty edits as they come: undoing all of them gives the first document, redoing all the last, by way of those between."""
    studio = visit().open()
    for prompt in ("a red ball", "a blue ball"):
        studio.drawn(prompt)
    first = studio.document
    draw, seen = random.Random(7), [first]
    for _ in range(30):
        _edit(studio, draw)
        if studio.document != seen[-1]:
            seen.append(studio.document)
    assert len(seen) > 6, "the edits did nothing"
    back = _travel(studio, "Undo", until=first)
    assert back[-1] == first and [document for document in back if document not in seen] == []
    assert _travel(studio, "Redo") == [*back[-2::-1], seen[-1]]


def _edit(studio: Studio, draw: random.Random) -> None:
    kind = draw.choice(["key", "button", "layer", "opacity", "eye"])
    studio.page.locator(".canvas").focus()
    if kind == "key":
        studio.page.keyboard.press(draw.choice(_KEYS))
    elif kind == "layer":
        rows = studio.page.locator(".layer > .name")
        rows.nth(draw.randrange(rows.count())).click(modifiers=draw.choice([[], ["Shift"]]))
    elif kind == "eye":
        studio.page.locator(".layer > .quiet").first.click()
    elif kind == "opacity" and studio.page.locator("input[type=range]").is_visible():
        studio.page.locator("input[type=range]").fill(str(draw.randrange(101)))
    elif kind == "button":
        button = studio.button(draw.choice(_BUTTONS))
        if button.is_visible() and button.is_enabled():
            button.click()


def _travel(studio: Studio, button: str, until: object = None) -> list[object]:
    """Press Undo or Redo to the end, or to a document; all that was seen on the way."""
    met: list[object] = []
    while studio.document != until and studio.button(button).is_enabled():
        studio.button(button).click()
        met.append(studio.document)
    return met


def test_layers_move_by_mouse_and_keys_in_whole_pixels(visit: Visit) -> None:
    """Drag on the canvas, arrow keys, numbers, scaling at a corner; a locked layer stays."""
    studio = visit().open()
    studio.drawn(Seed=3)
    (_, before) = studio.layers
    x, y, zoom = _on_screen(studio, before)
    studio.page.mouse.move(x, y)
    studio.page.mouse.down()
    studio.page.mouse.move(x - 61, y - 33, steps=5)
    studio.page.mouse.up()
    (_, moved) = studio.layers
    assert (moved["x"], moved["y"]) != (before["x"], before["y"])
    assert all(isinstance(moved[axis], int) for axis in "xy") and abs(moved["x"] - before["x"] + 61 / zoom) <= 1
    studio.page.locator(".canvas").focus()
    studio.page.keyboard.press("ArrowRight")
    studio.page.keyboard.press("Shift+ArrowUp")
    assert (studio.layers[1]["x"], studio.layers[1]["y"]) == (moved["x"] + 1, moved["y"] - 10)
    corner = _on_screen(studio, studio.layers[1], at=1.0)
    studio.page.mouse.move(corner[0], corner[1])
    studio.page.mouse.down()
    studio.page.mouse.move(corner[0] - 60, corner[1] - 60, steps=5)
    studio.page.mouse.up()
    scaled = studio.layers[1]
    assert scaled["scale"] < 1 and isinstance(scaled["x"], int)
    studio.page.get_by_role("button", name="Lock a red ball").click()
    studio.page.locator(".canvas").focus()
    studio.page.keyboard.press("ArrowRight")
    studio.page.keyboard.press("Delete")
    assert studio.layers[1] | {"locked": False} == scaled


def _on_screen(studio: Studio, layer: dict[str, int], at: float = 0.5) -> tuple[float, float, float]:
    """A point of a layer on the screen, from its left top (0) to its right bottom (1), and the zoom."""
    frame = studio.page.locator(".canvas").bounding_box()
    assert frame is not None
    style = "getComputedStyle(document.querySelector('.canvas')).getPropertyValue('--{}')"
    left, top, width = (float(studio.page.evaluate(style.format(name)).removesuffix("px")) for name in ("left", "top", "width"))
    zoom = width / studio.document["width"]
    across, down = layer["width"] * layer["scale"] * at, layer["height"] * layer["scale"] * at
    return frame["x"] + left + (layer["x"] + across) * zoom, frame["y"] + top + (layer["y"] + down) * zoom, zoom


def test_a_layer_is_split_and_the_psd_has_its_group(visit: Visit, tmp_path: Path) -> None:
    """Object and effects become two layers of one group, also in the file; a scaled one is scaled there."""
    studio = visit().open()
    studio.drawn(Seed=3)
    studio.page.get_by_role("spinbutton", name="Scale %").fill("50")
    studio.page.keyboard.press("Tab")
    studio.button("Split object and shadow").click()
    studio.until("studio.document.layers.length === 3")
    assert [(layer["part"], layer["group"]) for layer in studio.layers[1:]] == [("effects", "a red ball"), ("object", "a red ball")]
    psd = PSDImage.open(studio.download("PSD", tmp_path))
    (group,) = [entry for entry in psd if entry.is_group()]
    assert group.name == "a red ball" and [entry.name for entry in group] == ["a red ball (effects)", "a red ball (object)"]
    assert 0 < group[1].width < 200


def test_a_moved_layer_is_split_where_it_lies(visit: Visit) -> None:
    """Its box goes with it: the object is as large as without the move, and the form gets the box of the scaled layer."""
    studio = visit().open()
    studio.drawn(Seed=3)
    (_, drawn) = studio.layers
    studio.button("Split object and shadow").click()
    studio.until("studio.document.layers.length === 3")
    (_, _, still) = studio.layers
    studio.button("Undo").click()
    studio.page.locator(".layer > .name").first.click()
    studio.page.get_by_role("spinbutton", name="Y", exact=True).last.fill(str(drawn["y"] - 220))
    studio.page.keyboard.press("Tab")
    assert studio.layers[1]["box"] == [x - 220 * (number % 2) for number, x in enumerate(drawn["box"])]
    studio.button("Split object and shadow").click()
    studio.until("studio.document.layers.length === 3")
    (_, _, moved) = studio.layers
    assert (moved["part"], moved["width"], moved["height"], moved["y"]) == ("object", still["width"], still["height"], still["y"] - 220)
    studio.button("Undo").click()
    studio.page.locator(".layer > .name").first.click()
    studio.page.get_by_role("spinbutton", name="Scale %").fill("50")
    studio.page.keyboard.press("Tab")
    studio.button("Copy its settings to the form").click()
    width = studio.page.get_by_role("spinbutton", name="Width", exact=True)
    expect(width).not_to_have_value(str(drawn["box"][2] - drawn["box"][0]))
    assert int(width.input_value()) == pytest.approx((drawn["box"][2] - drawn["box"][0]) / 2, abs=2)


def test_a_layer_is_redrawn_in_its_place(visit: Visit) -> None:
    """With another prompt and seed; what lies above it and its own look stay."""
    studio = visit().open()
    studio.drawn("a red ball", Seed=1)
    below = studio.layers[1]["id"]
    studio.drawn("a blue ball", Seed=2)
    studio.page.locator(".layer > .name").nth(1).click()
    studio.page.locator("input[type=range]").fill("40")
    studio.page.get_by_label("What to draw").fill("a green ball")
    studio.number("Seed", 9)
    studio.button("Redraw with these settings").click()
    studio.until("studio.document.layers[1].seed === 9")
    assert [layer["prompt"] for layer in studio.layers] == [None, "a green ball", "a blue ball"]
    assert (studio.layers[1]["id"], studio.layers[1]["opacity"]) == (below, 0.4)


def test_a_layer_is_extracted_from_a_finished_picture(visit: Visit, tmp_path: Path) -> None:
    """The finished picture and the document's background go to the service; its layer comes into the document."""
    studio = visit().open()
    studio.drawn("a red ball", Seed=1)
    finished = studio.download("PNG", tmp_path)
    studio.button("Undo").click()
    studio.give("Extract from a finished picture", finished)
    studio.until("studio.document.layers.length === 2")
    assert studio.layers[1]["box"] is not None


def test_files_of_ours_give_everything_back(visit: Visit, tmp_path: Path) -> None:
    """A zip comes back as its layers, a flat PNG as a picture; both fill in prompt, seed and box."""
    studio = visit().open()
    studio.drawn("a red ball", Seed=41)
    box = studio.layers[1]["box"]
    files = [studio.download(kind, tmp_path) for kind in ("ZIP", "PNG")]
    for path, num_layers in zip(files, (2, 1), strict=True):
        other = visit()
        other.page.goto(f"{other.url}/studio/")
        other.give("Open a file", path)
        other.until("studio.document !== null")
        assert len(other.layers) == num_layers
        expect(other.page.get_by_label("What to draw")).to_have_value("a red ball")
        expect(other.page.get_by_role("spinbutton", name="Seed", exact=True)).to_have_value("41")
        width = other.page.get_by_role("spinbutton", name="Width", exact=True)
        expect(width).to_have_value(str(box[2] - box[0]))


def test_what_cannot_be_opened_is_told(visit: Visit, tmp_path: Path) -> None:
    """A file of another kind: a sentence, and the page goes on."""
    path = tmp_path / "notes.png"
    path.write_bytes(b"no picture at all")
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    studio.give("Open a file", path)
    expect(studio.page.get_by_role("alert")).to_contain_text("This kind of file cannot be opened here.")
    photograph = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # its right side is up
    Image.fromarray(np.zeros((30, 50, 3), np.uint8)).save(photograph, exif=exif)
    studio.give("Open a file", photograph)
    studio.until("studio.document !== null")
    assert (studio.document["width"], studio.document["height"]) == (30, 50)
