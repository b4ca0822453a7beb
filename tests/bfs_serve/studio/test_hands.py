"""Hands on the studio while it is busy: dragging, two fingers, half-typed fields, held keys."""

import re
from collections.abc import Callable

import pytest
from live_service import LiveService
from playwright.sync_api import expect
from studio_page import Studio

SLOW = "fake?step_s=0.25"
PHONE = {"width": 390, "height": 844}
Visit = Callable[..., Studio]


def _box(studio: Studio) -> list[int]:
    fields = (studio.page.get_by_role("group", name="Box").get_by_role("spinbutton").nth(number) for number in range(4))
    return [int(field.input_value()) for field in fields]


def _in_box(studio: Studio) -> tuple[float, float, float]:
    """The middle of the box on the screen, and the zoom."""
    frame = studio.page.locator(".canvas").bounding_box()
    assert frame is not None
    style = "getComputedStyle(document.querySelector('.canvas')).getPropertyValue('--{}')"
    left, top, width = (float(studio.page.evaluate(style.format(name)).removesuffix("px")) for name in ("left", "top", "width"))
    zoom = width / studio.document["width"]
    x, y, wide, high = _box(studio)
    return frame["x"] + left + (x + wide / 2) * zoom, frame["y"] + top + (y + high / 2) * zoom, zoom


def test_progress_leaves_the_box_under_the_pointer(visit: Visit) -> None:
    """A box that is dragged while steps arrive lies where it was let go."""
    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.draw(Steps=30)
    expect(studio.tiles("running")).to_have_count(1)
    before = _box(studio)
    x, y, zoom = _in_box(studio)
    studio.page.mouse.move(x, y)
    studio.page.mouse.down()
    studio.page.mouse.move(x - 60, y - 40, steps=4)
    seen = studio.tiles("running").inner_text()
    expect(studio.tiles("running")).not_to_have_text(seen)
    studio.page.wait_for_timeout(600)
    studio.page.mouse.up()
    assert _box(studio) == [pytest.approx(before[0] - 60 / zoom, abs=2), pytest.approx(before[1] - 40 / zoom, abs=2), *before[2:]]
    studio.button("Cancel").click()


def test_two_fingers_move_nothing(visit: Visit) -> None:
    """What the first finger had begun to drag goes back when the second one comes; both zoom."""
    studio = visit(PHONE, has_touch=True, is_mobile=True).open()
    before = _box(studio)
    x, y, zoom = _in_box(studio)
    session = studio.page.context.new_cdp_session(studio.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": across, "y": down, "id": number} for number, (across, down) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (x, y))
    touch("touchMove", (x - 20, y - 20))
    touch("touchStart", (x - 20, y - 20), (x + 20, y + 20))
    for step in (1, 2, 3):
        touch("touchMove", (x - 20 - 15 * step, y - 20 - 15 * step), (x + 20 + 15 * step, y + 20 + 15 * step))
    touch("touchEnd")
    assert _in_box(studio)[2] > 1.5 * zoom
    assert _box(studio) == before


def test_a_typed_value_belongs_to_the_layer_it_was_typed_for(visit: Visit) -> None:
    """A click on the canvas selects something else only after the field was taken over; an emptied field means nothing."""
    studio = visit().open()
    studio.drawn(Seed=3)
    before = studio.layers[1]
    studio.page.get_by_role("spinbutton", name="X", exact=True).last.fill("33")
    studio.page.locator(".canvas").click(position={"x": 5, "y": 5})
    assert studio.layers[1]["x"] == 33
    studio.page.locator(".layer > .name").first.click()
    scale = studio.page.get_by_role("spinbutton", name="Scale %")
    scale.fill("")
    scale.press("Tab")
    expect(scale).to_have_value("100")
    assert studio.layers[1]["scale"] == before["scale"]


def test_keys_take_what_was_typed_and_draw_once(visit: Visit, live: LiveService) -> None:
    """Ctrl+Enter in a field draws with its number, once however long it is held; undo works from a slider."""
    studio = visit().open()
    live.asked.clear()
    studio.page.get_by_label("What to draw").fill("a red ball")
    studio.page.get_by_role("spinbutton", name="Steps").fill("7")
    studio.page.keyboard.down("Control")
    for _ in range(3):
        studio.page.keyboard.down("Enter")
    studio.page.keyboard.up("Enter")
    studio.page.keyboard.up("Control")
    studio.until("studio.document.layers.length === 2")
    studio.page.wait_for_timeout(500)
    assert studio.layers[1]["parameters"] == {"steps": 7} and len(live.requests("POST", "/v1/layers")) == 1
    slider = studio.page.locator("input[type=range]")
    slider.fill("50")
    slider.focus()
    studio.page.keyboard.press("Control+z")
    assert studio.layers[1]["opacity"] == 1
    studio.page.get_by_role("spinbutton", name="Steps").fill("900")
    studio.page.keyboard.press("Control+Enter")
    studio.button("Redraw with these settings").click()
    studio.button("History").click()
    studio.page.keyboard.press("Control+Enter")
    studio.page.wait_for_timeout(300)
    assert len(live.requests("POST", "/v1/layers")) == 1


def test_a_glance_at_a_candidate_leaves_no_trace(visit: Visit) -> None:
    """Once one is taken, the canvas shows another only while the pointer is on it; the heading tells how it ended."""
    studio = visit().open()
    studio.draw(candidates=2)
    expect(studio.page.get_by_role("heading", name="Choose one")).to_be_visible()
    badge = studio.page.get_by_text("Preview", exact=True)
    studio.page.locator(".tile").first.click()
    expect(badge).to_be_hidden()
    taken = studio.layers
    studio.page.locator(".tile").nth(1).hover()
    expect(badge).to_be_visible()
    studio.page.mouse.move(5, 400)
    expect(badge).to_be_hidden()
    assert studio.layers == taken


def test_the_history_gives_all_of_the_form_back(visit: Visit) -> None:
    """Guidance and model too, a box that fits, and a small picture, made once."""
    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.drawn("a red ball", Seed=11, Guidance=3)
    assert studio.layers[1]["parameters"] == {"true_cfg_scale": 3}
    studio.number("Guidance", "")
    studio.page.get_by_label("Model").select_option("fake")
    studio.button("History").click()
    expect(studio.page.locator(".history img")).to_have_attribute("src", re.compile("^data:image/"))
    studio.button("Use again").click()
    expect(studio.page.get_by_role("spinbutton", name="Guidance")).to_have_value("3")
    expect(studio.page.get_by_label("Model")).to_have_value(SLOW)
