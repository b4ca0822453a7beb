"""What the studio keeps: in the browser, on the service, and between tabs."""

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from live_service import LiveService, answer
from playwright.sync_api import expect
from studio_page import Studio

SLOW = "fake?step_s=0.25"
Visit = Callable[..., Studio]
# What a browser does whose storage is full.
_FULL = """() => {
  globalThis.put = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (...given) {
    if (this.name === "pictures") throw new DOMException("full", "QuotaExceededError");
    return put.apply(this, given);
  };
}"""
_KEPT = """() => new Promise((resolve) => {
  indexedDB.open("bfs-studio").onsuccess = ({ target }) => {
    const found = target.result.transaction("pictures").objectStore("pictures").count();
    found.onsuccess = () => (target.result.close(), resolve(found.result));
  };
})"""


def test_a_full_browser_is_told_and_loses_nothing(visit: Visit) -> None:
    """Without room for pictures a message stays, the work goes on; with room again they are kept, and the message goes."""
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    expect(studio.button("Amber room")).to_be_visible()
    studio.page.evaluate(_FULL)
    studio.button("Amber room").click()
    told = studio.page.get_by_role("alert").filter(has_text="Download your document now")
    expect(told).to_be_visible()
    studio.drawn(Seed=4)
    expect(told).to_be_visible()
    assert studio.page.evaluate(_KEPT) == 0
    studio.page.evaluate("() => void (IDBObjectStore.prototype.put = put)")
    studio.page.get_by_label("What to draw").fill("a blue ball")
    expect(told).to_be_hidden()
    studio.page.reload()
    studio.until("studio.document !== null")
    studio.drawn("a blue ball")


def test_a_document_of_another_tab_is_continued_as_a_copy(visit: Visit) -> None:
    """As it is now, not as it was when the start was shown; what is done to either is not done to the other."""
    first = visit().open()
    second = Studio(first.page.context.new_page(), first.url)
    second.page.goto(f"{second.url}/studio/")
    expect(second.button("Amber room Layers: 0")).to_be_visible()
    first.drawn("a red ball")
    first.page.evaluate("dispatchEvent(new Event('pagehide'))")  # written now
    second.button("Amber room Layers: 0").click()
    second.until("studio.document !== null")
    expect(second.page.get_by_text("Another tab has this document open.")).to_be_visible()
    assert [layer["prompt"] for layer in second.layers] == [None, "a red ball"]
    second.drawn("a green ball")
    for tab in (first, second):
        tab.page.reload()
        tab.until("studio.document !== null")
    assert [len(tab.layers) for tab in (first, second)] == [2, 3]


def test_all_documents_are_listed_and_none_is_removed_unasked(visit: Visit) -> None:
    """Twelve of them; the bin asks first."""
    studio = visit().open()
    studio.page.evaluate("dispatchEvent(new Event('pagehide'))")
    studio.page.evaluate("""() => new Promise((resolve) => {
      indexedDB.open("bfs-studio").onsuccess = ({ target }) => {
        const store = target.result.transaction("works", "readwrite").objectStore("works");
        store.getAll().onsuccess = ({ target: { result: [work] } }) => {
          for (let number = 1; number < 12; number++) store.put({ ...work, id: `copy-${number}`, title: `Copy ${number}` });
        };
        store.transaction.oncomplete = () => (target.result.close(), resolve());
      };
    })""")
    studio.page.locator(".wordmark").click()
    entries = studio.page.locator(".recent > li")
    expect(entries).to_have_count(12)
    for choice, left in (("Cancel", 12), ("Remove", 11)):
        studio.button("Remove Copy 3").click()
        studio.page.get_by_role("dialog").get_by_role("button", name=choice).click()
        expect(entries).to_have_count(left)
    studio.page.reload()
    studio.page.locator(".wordmark").click()
    expect(entries).to_have_count(11)
    assert not any("Copy 3" in entry for entry in entries.all_inner_texts())


def test_what_is_kept_here_is_forgotten_there(visit: Visit, live: LiveService, tmp_path: Path) -> None:
    """A room, a drawing and a download take no room on the service once they are fetched."""
    live.asked.clear()
    studio = visit().open()
    studio.drawn(Seed=5)
    studio.download("PNG", tmp_path)
    deadline = time.monotonic() + 30
    while len(live.requests("DELETE", "/result")) < 3 and time.monotonic() < deadline:
        studio.page.wait_for_timeout(50)
    released = [asked.path.removesuffix("/result") for asked in live.requests("DELETE", "/result")]
    assert len(released) == len(set(released)) == 3
    for job in released:
        studio.until(f"fetch('..{job}').then(r => r.status >= 404)")


def _leave_for(studio: Studio, document: str) -> None:
    studio.page.locator(".wordmark").click()
    studio.button(document).click()


def test_a_drawing_enters_its_document_wherever_one_is(visit: Visit, live: LiveService) -> None:
    """Once, though its document is left and taken up again; and later, when it ended while another document was open."""
    studio = visit().open()
    studio.page.get_by_label("Model").select_option(SLOW)
    studio.draw("a red ball", Steps=8)
    expect(studio.tiles("running")).to_have_count(1)
    _leave_for(studio, "Amber room Layers: 0")
    studio.until("studio.document?.layers.length === 2")
    studio.page.wait_for_timeout(500)
    studio.button("Undo").click()
    assert len(studio.layers) == 1
    live.asked.clear()
    studio.draw("a blue ball", Steps=4)
    expect(studio.tiles("running")).to_have_count(1)
    _leave_for(studio, "Dusk room")
    studio.until("studio.document !== null")
    studio.page.wait_for_timeout(2000)
    assert len(studio.layers) == 1
    _leave_for(studio, "Amber room Layers: 0")
    studio.until("studio.document?.layers.length === 2")
    assert studio.layers[1]["prompt"] == "a blue ball"


def test_a_file_that_is_too_large_is_refused_at_once(visit: Visit, live: LiveService) -> None:
    """What could neither be drawn on nor downloaded is not opened; the sentence says what to do."""
    layer = {"id": "background", "name": "Background", "role": "background", "x": 0, "y": 0, "width": 8000, "height": 5600}
    layer |= {"opacity": 1, "blend_mode": "normal", "visible": True, "group": None, "part": None, "box": None, "prompt": None}
    layer |= {"seed": None, "model": None, "parameters": {}, "file": "layers/000.png", "sha256": "0" * 64}
    manifest = {"format": "bfs-document", "version": 1, "width": 8000, "height": 5600, "layers": [layer]}
    opened = io.BytesIO()
    with zipfile.ZipFile(opened, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("layers/000.png", bytes(61 * 2**20))
    live.faults["POST", "/v1/exports"] = [answer(200, opened.getvalue(), content_type="application/zip")]
    studio = visit()
    studio.page.goto(f"{studio.url}/studio/")
    studio.button("Amber room").click()
    expect(studio.page.get_by_role("alert")).to_contain_text("takes 61 MiB once opened")
    expect(studio.page.get_by_role("alert")).to_contain_text("scale it down")
    assert studio.page.evaluate("studio.document") is None
