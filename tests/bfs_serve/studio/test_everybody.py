"""The studio for everybody: keys, accessibility, narrow screens, touch, languages, and how soon one can draw."""

from collections.abc import Callable
from pathlib import Path

import pytest
from live_service import LiveService, answer
from playwright.sync_api import expect
from studio_build import installed
from studio_page import Studio

Visit = Callable[..., Studio]
WIDTHS = {"phone": {"width": 390, "height": 844}, "tablet": {"width": 1024, "height": 768}, "desk": {"width": 1440, "height": 900}}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> str:
    """The script of axe-core, as the lock of the studio has it."""
    return (installed(repo_root, tmp_path_factory) / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_violation(visit: Visit, axe: str, width: str, scheme: str) -> None:
    """At the start, while drawing, and with a layer: labels, roles, contrast, landmarks; nothing is wider than the screen."""
    studio = visit(WIDTHS[width], color_scheme=scheme, reduced_motion="reduce")
    studio.page.goto(f"{studio.url}/studio/")
    expect(studio.button("Amber room")).to_be_visible()
    assert _violations(studio, axe) == []
    studio.open("Dusk room")
    studio.draw(candidates=2)
    expect(studio.tiles("done")).to_have_count(2)
    studio.page.locator(".tile").first.click()
    if width == "phone":
        studio.button("Layers").click()
    assert _violations(studio, axe) == []
    studio.button("History").click()
    assert _violations(studio, axe) == []
    assert studio.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _violations(studio: Studio, axe: str) -> list[str]:
    studio.page.evaluate(axe)
    found = studio.page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))]))")
    return [f"{rule}: {nodes}" for rule, nodes in found]


def test_a_key_is_asked_for_and_kept_in_the_tab(visit: Visit, live: LiveService) -> None:
    """The first answer is 401: a dialog asks, the request is sent again with the key; a reload of the tab still has it."""
    refuse = answer(401, b'{"type":"urn:bfs:problem:unauthorized"}', content_type="application/problem+json")
    live.faults["GET", "/v1/models"] = [refuse]
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    studio.page.get_by_role("textbox", name="Key").fill("a-key-of-mine")
    studio.button("Continue").click()
    studio.button("Amber room").click()
    studio.until("studio.document !== null")
    assert live.requests("POST", "/v1/exports?format=zip")[-1].headers["authorization"] == "Bearer a-key-of-mine"
    assert studio.page.evaluate("[sessionStorage.getItem('bfs-key'), JSON.stringify(localStorage)]") == ["a-key-of-mine", "{}"]


def test_a_key_can_be_mistyped_and_replaced(visit: Visit, live: LiveService) -> None:
    """The question stays until it has an answer; what no header can carry is refused, what copying adds is left out."""
    refuse = answer(401, b'{"type":"urn:bfs:problem:unauthorized"}', content_type="application/problem+json")
    live.faults["GET", "/v1/models"] = [refuse]
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    key = studio.page.get_by_role("textbox", name="Key")
    expect(key).to_be_visible()
    for _ in range(3):
        studio.page.keyboard.press("Escape")
    key.fill("bfs\u2013key")
    studio.button("Continue").click()
    expect(key).to_be_visible()
    key.fill("\u200bfirst-key ")
    studio.button("Continue").click()
    expect(key).to_be_hidden()
    studio.button("Language and appearance").click()
    studio.button("Another key").click()
    studio.page.keyboard.press("Escape")
    studio.button("Language and appearance").click()
    studio.button("Another key").click()
    key.fill("second-key")
    studio.button("Continue").click()
    studio.button("Amber room").click()
    studio.until("studio.document !== null")
    assert live.requests("GET", "/v1/models")[-1].headers["authorization"] == "Bearer first-key"
    assert live.requests("POST", "/v1/exports?format=zip")[-1].headers["authorization"] == "Bearer second-key"


def test_the_whole_way_by_keyboard(visit: Visit) -> None:
    """From the room to a layer that is moved, without a mouse; the first thing that Tab reaches is the page's name."""
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    expect(studio.button("Amber room")).to_be_visible()
    studio.page.keyboard.press("Tab")
    assert studio.page.evaluate("document.activeElement.textContent") == "BFSStudio"
    studio.button("Amber room").focus()
    studio.page.keyboard.press("Enter")
    studio.until("studio.document !== null")
    studio.page.get_by_label("What to draw").focus()
    studio.page.keyboard.type("a red ball")
    studio.page.keyboard.press("Control+Enter")
    studio.until("studio.document.layers.length === 2")
    before = studio.layers[1]
    studio.page.locator(".canvas").focus()
    studio.page.keyboard.press("Shift+ArrowLeft")
    assert studio.layers[1]["x"] == before["x"] - 10
    studio.page.keyboard.press("Control+z")
    assert studio.layers[1]["x"] == before["x"]


def test_a_box_by_touch(visit: Visit) -> None:
    """A finger draws the box on a phone."""
    studio = visit(WIDTHS["phone"], has_touch=True, is_mobile=True).open()
    frame = studio.page.locator(".canvas").bounding_box()
    assert frame is not None
    session = studio.page.context.new_cdp_session(studio.page)
    middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    points = [(middle[0] - 100, middle[1] - 100), (middle[0] - 70, middle[1] - 80), (middle[0] - 40, middle[1] - 60)]
    for number, (x, y) in enumerate(points):
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    width = studio.page.get_by_role("spinbutton", name="Width", exact=True)
    height = studio.page.get_by_role("spinbutton", name="Height", exact=True)
    expect(width).not_to_have_value("348")
    assert int(width.input_value()) / int(height.input_value()) == pytest.approx(60 / 40, rel=0.1)


def test_german(visit: Visit) -> None:
    """By the browser's language, and by choice."""
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    studio.button("Language and appearance").click()
    studio.page.get_by_role("combobox", name="Language").select_option("de")
    expect(studio.page.get_by_role("heading", name="Mit einem Bild beginnen")).to_be_visible()
    assert studio.page.evaluate("document.documentElement.lang") == "de"


def test_code_gives_the_same_drawing(visit: Visit) -> None:
    """Copy as curl and as Python hold box, prompt and seed as they stand in the form."""
    studio = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    studio.page.get_by_label("What to draw").fill("a ball of Ada's")
    studio.number("Seed", 12)
    for name, wanted in (("Copy as curl", "'prompt=a ball of Ada'\\''s'"), ("Copy as Python", '"a ball of Ada\'s", seed=12)')):
        studio.button("Copy as code").click()
        studio.page.get_by_role("menuitem", name=name).click()
        studio.page.wait_for_timeout(100)
        assert wanted in studio.page.evaluate("navigator.clipboard.readText()")


def test_one_can_draw_soon(visit: Visit) -> None:
    """A first drawing is two clicks away where the model offers its words, and what has to come before it is little."""
    studio = visit()
    sizes: list[int] = []
    studio.page.on("response", lambda response: sizes.append(len(response.body())) if "/studio" in response.url else None)
    studio.page.goto(f"{studio.url}/studio/")
    expect(studio.button("Amber room")).to_be_visible()
    studio.page.wait_for_load_state("networkidle")
    assert len(sizes) <= 10 and sum(sizes) < 400_000
