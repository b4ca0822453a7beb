"""The last step of the demo: one HTTP request, answered in every form, and a picture of what came of it."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bfs_model.picture.boxes import Box
from bfs_platform.console.screen import say
from bfs_platform.evaluate.run.overview import overview, row
from bfs_platform.jobs import Failure
from bfs_platform.processes import show

_LIMIT_S = 180.0
_SEED = 7


@dataclass(frozen=True)
class Scene:
    """What is asked for, and the picture that is true."""

    background: Path
    box: Box
    prompt: str
    truth: Path


def scene_of(scenes: Path, index: int) -> Scene:
    """The scene number `index` of a rendered folder."""
    entry = json.loads((scenes / "meta.json").read_text(encoding="utf-8"))[index]
    return Scene(scenes / entry["GT"], Box.of(entry["box"]), entry["caption"], scenes / entry["source"])


def request_layer(url: str, scenes: Path, output: Path) -> None:
    """Ask the service for a layer on the first background of `scenes`; write layer, composite, PSD and overview to `output`.

    Raises `Failure` when the service answers with anything else.
    """
    import httpx2

    scene = scene_of(scenes, 0)
    output.mkdir(parents=True, exist_ok=True)
    _show(url, scene, output)
    with httpx2.Client(base_url=url, timeout=_LIMIT_S, trust_env=False) as client:
        form = {"box": str(scene.box), "prompt": scene.prompt, "seed": str(_SEED)}
        files = {"background": ("background.png", scene.background.read_bytes(), "image/png")}
        answer = client.post("/v1/layers", data=form, files=files, headers={"Prefer": "wait=120", "Accept": "application/json"})
        if answer.status_code != 200:
            raise Failure(f"the service answered {answer.status_code}: {answer.text[:500]}")
        drawn = answer.json()
        contents = {"layer.png": base64.b64decode(drawn["layer_png"]), "composite.png": base64.b64decode(drawn["composite_png"])}
        document = client.get(f"/v1/jobs/{drawn['id']}/result", headers={"Accept": "image/vnd.adobe.photoshop"})
        if document.status_code != 200:
            raise Failure(f"the service answered {document.status_code} for the PSD: {document.text[:500]}")
        contents["document.psd"] = document.content
        say(f"service: drawn by {answer.headers.get('x-bfs-model')}, seed {answer.headers.get('x-bfs-seed')}")
    for name, content in contents.items():
        (output / name).write_bytes(content)
    layer, composite = Image.open(output / "layer.png"), Image.open(output / "composite.png")
    pictures = row(Image.open(scene.background), scene.box, layer, composite, Image.open(scene.truth))
    overview(pictures).save(output / "overview.png")


def _show(url: str, scene: Scene, output: Path) -> None:
    """The request as it is typed in another shell while the service runs."""
    form = [f"background=@{scene.background}", f"box={scene.box}", f"prompt={scene.prompt}", f"seed={_SEED}"]
    headers = ["Prefer: wait=120", "Accept: image/png"]
    fields = [part for value in form for part in ("-F", value)] + [part for value in headers for part in ("-H", value)]
    show(["curl", f"{url}/v1/layers", *fields, "-o", str(output / "layer.png")])
