"""The whole story with the real program and the embedded model: `bfs studio`, two clicks, and a PSD."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from psd_tools import PSDImage
from studio_page import DESKTOP, Studio

from bfs_platform.processes import free_port

pytestmark = pytest.mark.ray  # in the second pass: the program starts Ray


@pytest.fixture
def started(tmp_path: Path, browser: Browser) -> Iterator[str]:
    """The address that `bfs studio --no-browser` says, from a bare shell; it ends by Ctrl-C, with exit code 130."""
    command = [str(Path(sys.executable).parent / "bfs"), "studio", "--no-browser", "--port", str(free_port())]
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = threading.Timer(300, process.kill)
    deadline.start()
    assert process.stderr is not None
    try:
        said = next((line for line in process.stderr if line.startswith("studio ")), "")
        found = re.match(r"studio (http://127\.0\.0\.1:\d+)/studio/$", said)
        assert found, said
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        deadline.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_two_clicks_to_a_layer_and_on_to_a_psd(started: str, browser: Browser, tmp_path: Path) -> None:
    """A room, Draw: previews come, then a layer with its shadow. The model's words change the prompt. The PSD holds it all."""
    studio = Studio(browser.new_page(viewport=DESKTOP), started)
    studio.open()
    material = studio.page.get_by_role("combobox", name="Material")
    expect(material).to_have_value("polished metal")
    material.select_option("glossy plastic")
    expect(studio.page.get_by_label("What to draw")).to_have_value("a large red glossy plastic sphere")
    studio.number("Steps", 16)
    studio.page.locator("#draw:enabled").click()
    expect(studio.page.get_by_text("Preview", exact=True)).to_be_visible()
    studio.until("studio.document.layers.length === 2")
    (_, layer) = studio.layers
    assert layer["model"]["name"] == "tiny" and layer["prompt"] == "a large red glossy plastic sphere"
    psd = PSDImage.open(studio.download("PSD", tmp_path))
    assert [entry.name for entry in psd] == ["Background", "a large red glossy plastic sphere"]
    assert studio.faults == []
