"""The docker inside Krita: installed by Krita's own importer, used as a person would, against the service with the embedded model."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import numpy as np
import pytest
from krita_program import NO_SCREEN, show
from PIL import Image

from bfs_model.document import file as documents
from bfs_platform.processes import free_port

pytestmark = [pytest.mark.ray, pytest.mark.editors, pytest.mark.skipif(NO_SCREEN is not None, reason=str(NO_SCREEN))]

DRIVER = Path(__file__).with_name("driver")
PYKRITA = Path(".local/share/krita/pykrita")
PROMPT, SEED = "a large red glossy plastic sphere", 7
SELECTION = (40, 30, 80, 70)  # x, y, width, height
BOX = (40, 30, 120, 100)
STORIES = ["draws_a_group", "draws_one_layer", "draws_in_sixteen_bits", "cancels", "says_what_is_wrong"]
Story = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def home(plugins: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which Krita's importer has installed the zip, and the driver lies beside it."""
    home = tmp_path_factory.mktemp("krita")
    resources = home / PYKRITA.parent
    resources.mkdir(parents=True)
    (home / "bfs-krita.zip").write_bytes(plugins.krita())
    importer = next(Path("/usr/share/krita/pykrita/plugin_importer").glob("plugin_importer.py"))
    result = subprocess.run([sys.executable, importer, home / "bfs-krita.zip", resources], capture_output=True, text=True, timeout=60)
    assert result.stdout == "Imported plugin: BFS\n", result.stdout + result.stderr
    shutil.copytree(DRIVER, resources / "pykrita", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (home / ".config").mkdir()
    (home / ".config/kritarc").write_text("[python]\nenable_bfs_krita=true\nenable_bfs_driver=true\n")
    return home


@pytest.fixture(scope="module")
def played(home: Path, embedded: str, background: Path) -> Path:
    """The folder in which all stories, played in one Krita, left what they saw."""
    what = {"url": embedded, "nobody": f"http://127.0.0.1:{free_port()}", "background": str(background), "prompt": PROMPT}
    what |= {"seed": SEED, "selection": SELECTION, "stories": STORIES}
    said = show(home, {"BFS_DRIVER": json.dumps(what), "BFS_DRIVER_FOLDER": str(home)})
    assert (home / f"{STORIES[-1]}.json").exists(), said[-6000:]
    if keep := os.environ.get("KEEP_PICTURES"):  # to look at them
        shutil.copy(home / "window.png", keep)
    return home


@pytest.fixture
def story(played: Path) -> Story:
    """What one story saw. Fails where it did not come to its end."""

    def told(name: str) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads((played / f"{name}.json").read_text(encoding="utf-8"))
        assert "failed" not in seen, seen["failed"]
        return seen

    return told


def drawn(url: str, background: Path, format: str, **fields: str) -> bytes:
    """The same drawing by the API alone."""
    asked = {"box": ",".join(map(str, BOX)), "prompt": PROMPT, "seed": str(SEED)} | fields
    files = {"background": background.read_bytes()}
    answer = httpx2.post(f"{url}/v1/layers?format={format}", files=files, data=asked, headers={"Prefer": "wait=120"}, timeout=150)
    assert answer.status_code == 200, answer.text
    return answer.content


def pixels(path: Path, width: int, height: int, dtype: type = np.uint8) -> np.ndarray:
    """Krita's memory as RGBA [height, width, 4]."""
    return np.frombuffer(path.read_bytes(), dtype).reshape(height, width, 4)[..., [2, 1, 0, 3]]


def on_canvas(played: Path, name: str, number: int, node: dict[str, Any]) -> np.ndarray:
    """A layer's pixels on the whole picture, [120, 160, 4]."""
    x, y, width, height = node["box"]
    canvas = np.zeros((120, 160, 4), np.uint8)
    canvas[y : y + height, x : x + width] = pixels(played / f"{name}-{number}.bgra", width, height)
    return canvas


def assert_seen_alike(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal alpha everywhere, equal colours wherever something is seen."""
    assert np.array_equal(found[..., 3], expected[..., 3])
    assert expected[..., 3].any()
    seen = expected[..., 3] > 0
    assert np.array_equal(found[seen], expected[seen])


def test_object_and_effects_come_as_a_group(story: Story, played: Path, embedded: str, background: Path) -> None:
    """Above the active layer and below the others, which are no part of the background; pixel by pixel what the API gives."""
    seen = story("draws_a_group")
    names = [(node["groups"], node["name"], node["type"]) for node in seen["nodes"]]
    parts = [([PROMPT], f"{PROMPT} (effects)", "paintlayer"), ([PROMPT], f"{PROMPT} (object)", "paintlayer")]
    assert names[1:] == [([], PROMPT, "grouplayer"), *parts, ([], "on top", "paintlayer")]
    assert seen["nodes"][1]["pass_through"] and seen["active"] == PROMPT
    expected = documents.decode(drawn(embedded, background, "ora", split_effects="true"))
    for number, layer in ((2, expected.layers[1]), (3, expected.layers[2])):
        assert_seen_alike(on_canvas(played, "group", number, seen["nodes"][number]), layer.on_canvas(160, 120))
    flat = pixels(played / "group.bgra", 160, 120)[:60, :, :3].astype(int)  # below it, the layer on top hides everything
    assert np.abs(flat - np.asarray(expected.flatten())[:60]).max() <= 2
    assert seen["message"] == f"Drawn with seed {SEED}, 2 layers."
    assert any(text.startswith("Drawing, step ") for text in seen["shown"])
    assert seen["undone"] == ["Background", "on top"]


def test_a_whole_layer_goes_into_the_group_of_the_active_one(story: Story, played: Path, embedded: str, background: Path) -> None:
    """In as many steps as asked for; pixel by pixel the PNG of the API."""
    seen = story("draws_one_layer")
    assert [(node["groups"], node["name"]) for node in seen["nodes"]][1:] == [([], "things"), (["things"], "inner"), (["things"], PROMPT)]
    expected = np.asarray(Image.open(io.BytesIO(drawn(embedded, background, "png", steps="2"))))
    assert_seen_alike(on_canvas(played, "one", 3, seen["nodes"][3]), expected)


def test_a_document_of_another_depth_gets_a_layer_of_its_own(story: Story, played: Path, embedded: str, background: Path) -> None:
    """16 bits hold what 8 bits say, so that back in 8 bits the layer is the API's."""
    seen = story("draws_in_sixteen_bits")
    assert seen["depth"] == "U16"
    expected = np.asarray(Image.open(io.BytesIO(drawn(embedded, background, "png"))))
    assert_seen_alike(on_canvas(played, "deep", 1, seen["nodes"][1]), expected)


def test_cancel_leaves_the_document_and_ends_the_job(story: Story, embedded: str) -> None:
    """At once, and nothing arrives later; Krita's end does the same, and waits for the thread."""
    seen = story("cancels")
    assert (seen["message"], seen["later"], seen["idle"]) == ("Canceled.", "Canceled.", True)
    assert len(seen["nodes"]) == 1
    jobs = httpx2.get(f"{embedded}/v1/jobs?status=canceled").json()["jobs"]
    assert [job["steps"] for job in jobs] == [200, 200] and seen["left"]


def test_what_is_wrong_is_said(story: Story, embedded: str) -> None:
    """In a sentence with what to do, whoever is at fault; the document stays as it is, and the address is kept."""
    seen = story("says_what_is_wrong")
    said = seen["said"]
    assert said["no selection"].startswith("Select where") and "outside of the picture" in said["outside"]
    assert said["no words"] == "Describe the object in words." and "longer than 1000 characters; shorten it" in said["refused"]
    assert "seed is not a whole number" in said["no seed"] and "is the service running there?" in said["no service"]
    assert "is not an http address" in said["no address"] and said["connected"] == "Connected. tiny is ready."
    assert len(seen["nodes"]) == 1 and seen["kept"] == embedded
