#!/usr/bin/env python
"""The picture of the studio in the README: a service on the embedded model, Chromium, and a drawing as a person makes it.

    .venv/bin/bfs studio --no-browser
    .venv/bin/python infra/pictures/studio.py --output infra/pictures/studio.webp

Needs the extra `test` (playwright) and a Chromium.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

_SIZE = {"width": 1360, "height": 850}
_QUALITY = 88
_WAIT_MS = 600_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the service is (default %(default)s)")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE, device_scale_factor=1.5, locale="en-GB", color_scheme="light")
        page.set_default_timeout(_WAIT_MS)
        _draw(page, arguments.url)
        shot = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(shot)) as picture:
        picture.convert("RGB").save(arguments.output, quality=_QUALITY, method=6)


def _draw(page: Page, url: str) -> None:
    """A room with one object, then three candidates of a second one, one of them taken."""
    page.goto(f"{url}/studio/")
    page.get_by_role("button", name="Dusk room", exact=True).click()
    _number(page, "Seed", 4)
    page.locator("#draw:enabled").click()
    page.locator('.tile[aria-pressed="true"]').wait_for()
    for kind, word in {"Size": "small", "Colour": "red", "Material": "glossy plastic", "Shape": "sphere"}.items():
        page.get_by_role("combobox", name=kind).select_option(word)
    for name, value in {"X": 60, "Y": 420, "Width": 150, "Height": 150, "Candidates": 3, "Seed": 7}.items():
        _number(page, name, value)
    page.locator("#draw:enabled").click()
    page.locator('.tile[data-status="done"]').nth(2).wait_for()
    page.locator(".tile").nth(1).click()
    page.mouse.move(0, 0)


def _number(page: Page, name: str, value: int) -> None:
    field = page.get_by_role("spinbutton", name=name, exact=True).first
    field.fill(str(value))
    field.press("Tab")


if __name__ == "__main__":
    main()
