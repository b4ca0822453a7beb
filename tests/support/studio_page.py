"""The studio in a real browser: Chromium as the system has it, and the page as its tests speak of it."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
WAIT_MS = 60_000  # on a machine that does other things too
KEPT_FORMS = """() => new Promise((resolve, reject) => {
    const opening = indexedDB.open("bfs-studio");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
        const works = opening.result.transaction("works").objectStore("works").getAll();
        works.onerror = () => reject(works.error);
        works.onsuccess = () => { opening.result.close(); resolve(works.result.map((work) => work.form)); };
    };
})"""
DESKTOP = {"width": 1280, "height": 860}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, closed at the end; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Studio:
    """The page, and what a person does there."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        page.set_default_timeout(WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self.faults.append(message.text) if "Content Security Policy" in message.text else None)

    def open(self, room: str = "Amber room") -> "Studio":
        """Load the page and begin with a room."""
        self.page.goto(f"{self.url}/studio/")
        self.button(room).click()
        self.until("studio.document !== null")
        return self

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression holds; the page's policy forbids what Playwright's own waiting does."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"not within {WAIT_MS} ms: {expression}"
            self.page.wait_for_timeout(50)

    def keeps(self, key: str, value: object) -> None:
        """Wait until the browser's storage has a work whose form says this."""
        self.until(f"({KEPT_FORMS})().then((forms) => forms.some((form) => form[{json.dumps(key)}] === {json.dumps(value)}))")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def number(self, name: str, value: object) -> None:
        """Type into a field of numbers and leave it."""
        field = self.page.get_by_role("spinbutton", name=name, exact=True)
        field.fill(str(value))
        field.press("Tab")

    def draw(self, prompt: str = "a red ball", candidates: int = 1, **numbers: object) -> None:
        """Fill the form and press Draw; does not wait."""
        self.page.get_by_label("What to draw").fill(prompt)
        self.number("Candidates", candidates)
        for name, value in numbers.items():
            self.number(name, value)
        self.page.locator("#draw:enabled").click()

    def drawn(self, prompt: str = "a red ball", **numbers: object) -> None:
        """Draw one layer and wait until it lies in the picture."""
        before = len(self.layers)
        self.draw(prompt, **numbers)
        self.until(f"studio.document.layers.length === {before + 1}")

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.page.evaluate("JSON.stringify(studio.document)"))
        return found

    @property
    def layers(self) -> list[dict[str, Any]]:
        return list(self.document["layers"])

    def tiles(self, status: str) -> Locator:
        return self.page.locator(f'.tile[data-status="{status}"]')

    def download(self, kind: str, folder: Path) -> Path:
        """The document as a file of this kind."""
        with self.page.expect_download() as started:
            self.page.locator("#download").click()
            self.page.get_by_role("menuitem", name=re.compile(f"^{kind}")).click()
        path = folder / started.value.suggested_filename
        started.value.save_as(path)
        return path

    def give(self, opener: str, *files: Path) -> None:
        """Press a button that asks for files, and choose some."""
        with self.page.expect_file_chooser() as asked:
            self.button(opener).first.click()
        asked.value.set_files(files)
