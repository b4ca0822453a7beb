"""Drawing in the studio: candidates, cancelling, what survives a reload or the death of the service, two tabs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from live_service import LiveService, answer, lost_answer
from PIL import Image
from playwright.sync_api import expect
from psd_tools import PSDImage
from studio_page import Studio

SLOW = "fake?step_s=0.25"
Visit = Callable[..., Studio]


def test_from_a_room_to_a_psd(visit: Visit, tmp_path: Path) -> None:
    """A room, a box by mouse, a prompt, Draw, Download: the PSD holds the layer as the service drew it, over the whole background."""
    studio = visit().open()
    frame = studio.page.locator(".canvas").bounding_box()
    assert frame is not None
    centre = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    studio.page.keyboard.press("Escape")
    studio.page.mouse.move(centre[0] - 180, centre[1] - 200)  # outside of the box that a room begins with
    studio.page.mouse.down()
    studio.page.mouse.move(centre[0] - 60, centre[1] - 80, steps=4)
    studio.page.mouse.up()
    width = studio.page.get_by_role("spinbutton", name="Width", exact=True)
    expect(width).not_to_have_value("348")
    studio.drawn("a red ball", Seed=7)
    (_, layer) = studio.layers
    assert (layer["seed"], layer["prompt"], layer["box"][2] - layer["box"][0]) == (7, "a red ball", int(width.input_value()))
    psd = PSDImage.open(studio.download("PSD", tmp_path))
    assert [entry.name for entry in psd] == ["Background", "a red ball"]
    assert psd.size == (640, 640) and psd[1].left == layer["x"] and psd[1].width == layer["width"]


def test_candidates_arrive_one_by_one(visit: Visit, live: LiveService) -> None:
    """Three candidates stand in the order of their seeds; the first can be taken while others are drawn; a click swaps them."""
    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.draw(candidates=3, Seed=100)
    expect(studio.tiles("done")).to_have_count(1)
    under_way = ", ".join(f'.tile[data-status="{status}"]' for status in ("done", "running", "queued"))
    assert studio.page.locator(under_way).count() == 3  # counted at once: they go on meanwhile
    assert len(studio.layers) == 1  # what is only looked at is not in the document
    expect(studio.page.get_by_text("Preview", exact=True)).to_be_visible()
    expect(studio.page.get_by_text(re.compile("ahead in the queue|Step|Next in line")).first).to_be_visible()
    studio.page.locator(".tile").first.click()
    assert [layer["seed"] for layer in studio.layers] == [None, 100]
    expect(studio.tiles("done")).to_have_count(3)
    studio.page.locator(".tile").nth(2).click()
    assert [layer["seed"] for layer in studio.layers] == [None, 102]
    studio.page.keyboard.press("Control+z")
    assert [layer["seed"] for layer in studio.layers] == [None, 100]


def test_a_canceled_drawing_leaves_nothing(visit: Visit, live: LiveService) -> None:
    """Cancel ends the jobs on the service, and the document is as it was."""
    studio = visit().open()
    before = studio.document
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.draw(candidates=2, Steps=40)
    expect(studio.tiles("running")).to_have_count(1)
    expect(studio.tiles("queued")).to_have_count(1)
    studio.button("Cancel").click()
    expect(studio.tiles("canceled")).to_have_count(2)
    studio.until("fetch('../v1/jobs?limit=2').then(r => r.json()).then(p => p.jobs.every(j => j.status === 'canceled'))")
    assert studio.document == before


def test_an_error_is_a_sentence_with_a_remedy(visit: Visit) -> None:
    """A prompt that the engine refuses: the tile says why, and what to do."""
    studio = visit().open()
    studio.draw("refuse")
    expect(studio.tiles("failed")).to_have_count(1)
    expect(studio.tiles("failed")).to_contain_text("is refused; ask for something else")
    expect(studio.page.get_by_role("heading", name="The drawing failed")).to_be_visible()
    assert len(studio.layers) == 1


def test_many_candidates_leave_connections_free(visit: Visit, live: LiveService) -> None:
    """Two of six are followed by their events at a time; of the others the page asks now and then. All of them arrive."""
    seen = [0]

    async def counted(app: Any, scope: Any, receive: Any, send: Any) -> None:
        seen.append(seen[-1] + 1)
        try:
            await app(scope, receive, send)
        finally:
            seen.append(seen[-1] - 1)

    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    live.faults["GET", "/events"] = [counted] * 100
    studio.draw(candidates=6, Steps=3)
    expect(studio.tiles("done")).to_have_count(6)
    live.faults["GET", "/events"] = []
    assert 1 <= max(seen) <= 3  # one that ends may still be closing


def test_connections_that_break_within_an_answer(visit: Visit, live: LiveService, tmp_path: Path) -> None:
    """A result that is cut off is fetched again; a download that takes longer than the service waits comes all the same."""

    async def impatient(app: Any, scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"headers": [header for header in scope["headers"] if header[0] != b"prefer"]}, receive, send)

    studio = visit().open()
    live.faults["GET", "/result"] = [lost_answer]
    studio.drawn(Seed=5)
    assert live.faults["GET", "/result"] == []
    live.faults["POST", "/v1/exports"] = [impatient]
    assert studio.download("PNG", tmp_path).stat().st_size > 0
    assert live.faults["POST", "/v1/exports"] == []


def test_a_model_that_is_gone_blocks_nothing(visit: Visit, live: LiveService) -> None:
    """The form asked for it, its list is hidden now: the default draws. One that is still being loaded is learnt later."""
    one = {"name": "fake", "version": "1", "state": "ready", "default": True, "capabilities": []}
    both = [one, one | {"name": SLOW, "state": "loading", "default": False}]
    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.keeps("model", SLOW)
    live.faults["GET", "/v1/models"] = [answer(200, json.dumps({"models": [one]}).encode(), content_type="application/json")]
    studio.page.reload()
    studio.until("studio.document !== null")
    expect(studio.page.get_by_label("Model")).to_be_hidden()
    studio.drawn(Seed=6)
    assert studio.layers[1]["model"]["name"] == "fake"
    live.faults["GET", "/v1/models"] = [answer(200, json.dumps({"models": both}).encode(), content_type="application/json")]
    studio.page.reload()
    expect(studio.page.get_by_role("button", name="Add a reference picture")).to_be_hidden()
    expect(studio.page.get_by_role("button", name="Add a reference picture")).to_be_visible()  # what the later answer tells


def test_work_survives_a_reload(visit: Visit) -> None:
    """Document, undo list, form, and a drawing that is under way."""
    studio = visit().open()
    studio.drawn(Seed=5)
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.draw("a blue ball", Seed=6, Steps=12)
    expect(studio.tiles("running")).to_have_count(1)
    before = studio.document
    studio.page.reload()
    studio.until("studio.document !== null")
    assert studio.document == before
    expect(studio.page.get_by_label("What to draw")).to_have_value("a blue ball")
    studio.until("studio.document.layers.length === 3")
    for _ in range(2):
        studio.button("Undo").click()
    assert len(studio.layers) == 1


def test_two_tabs_keep_their_own_work(visit: Visit) -> None:
    """A second tab does not take over what the first one holds; each keeps its document after both are reloaded."""
    first = visit().open()
    first.drawn("a red ball")
    second = Studio(first.page.context.new_page(), first.url)
    second.page.goto(f"{second.url}/studio/")
    second.button("Dusk room").click()
    second.until("studio.document !== null")
    second.drawn("a green ball")
    for tab in (first, second):
        tab.page.reload()
        tab.until("studio.document !== null")
    assert [tab.layers[1]["prompt"] for tab in (first, second)] == ["a red ball", "a green ball"]


def test_a_service_that_dies_and_returns(visit: Visit, live: LiveService) -> None:
    """The page says that the service is away, keeps the work, and the drawing that was under way comes to its end."""
    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.draw("a red ball", Steps=12)
    expect(studio.tiles("running")).to_have_count(1)
    live.stop()
    expect(studio.page.get_by_text("The service cannot be reached.")).to_be_visible()
    live.start()
    studio.until("studio.document.layers.length === 2")
    expect(studio.page.get_by_text("The service cannot be reached.")).to_be_hidden()
    assert studio.layers[1]["prompt"] == "a red ball"


def test_what_was_drawn_is_found_again(visit: Visit) -> None:
    """The history is searched by prompt, and gives prompt, seed and box back."""
    studio = visit().open()
    studio.drawn("a red ball", Seed=11)
    studio.drawn("a blue cone", Seed=12)
    studio.button("History").click()
    studio.page.get_by_role("searchbox", name="Search").fill("red")
    expect(studio.page.locator(".history li")).to_have_count(1)
    studio.button("Use again").click()
    expect(studio.page.get_by_label("What to draw")).to_have_value("a red ball")
    assert studio.page.get_by_role("spinbutton", name="Seed", exact=True).input_value() == "11"


def test_the_flat_picture_is_the_services(visit: Visit, tmp_path: Path) -> None:
    """A layer at half opacity, multiplied and moved: the PNG shows what the service composes, with all of it written inside."""
    from bfs_model.document.file import read_manifest

    studio = visit().open()
    studio.drawn("a red ball", Seed=3)
    studio.page.get_by_label("Blend mode").select_option("multiply")
    studio.page.locator("input[type=range]").fill("50")
    studio.page.get_by_role("spinbutton", name="X", exact=True).last.fill("20")
    studio.page.keyboard.press("Tab")
    path = studio.download("PNG", tmp_path)
    (_, layer) = read_manifest(path)["layers"]
    assert (layer["blend_mode"], layer["opacity"], layer["x"], layer["seed"]) == ("multiply", 0.5, 20, 3)
    assert np.asarray(Image.open(path)).shape == (640, 640, 3)
