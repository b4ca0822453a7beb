"""The last step of the demo: one HTTP request, answered in every form."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

_LIMIT_S = 180.0


def request_layer(url: str, scenes: Path, output: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Ask the service for a layer on the first background of `scenes`; write layer, composite, PSD. Returns paths by name."""
    import httpx2

    scene = json.loads((scenes / "meta.json").read_text(encoding="utf-8"))[0]
    box = ",".join(map(str, scene["box"]))
    output.mkdir(parents=True, exist_ok=True)
    prompt = scene["caption"]
    picture = f"{scenes.name}/{scene['GT']}"
    form_text = f'-F background=@{picture} -F box={box} -F "prompt={prompt}" -F seed=7'
    say(f'  $ curl {url}/v1/layers {form_text} -H "Prefer: wait=120"')
    with httpx2.Client(base_url=url, timeout=_LIMIT_S, trust_env=False) as client:
        form = {"box": box, "prompt": prompt, "seed": "7"}
        files = {"background": ("background.png", (scenes / scene["GT"]).read_bytes(), "image/png")}
        answer = client.post("/v1/layers", data=form, files=files, headers={"Prefer": "wait=120", "Accept": "application/json"})
        if answer.status_code != 200:
            raise RuntimeError(f"the service answered {answer.status_code}: {answer.text[:500]}")
        drawn = answer.json()
        contents = {"layer.png": base64.b64decode(drawn["layer_png"]), "composite.png": base64.b64decode(drawn["composite_png"])}
        document = client.get(f"/v1/jobs/{drawn['id']}/result", headers={"Accept": "image/vnd.adobe.photoshop"})
        if document.status_code != 200:
            raise RuntimeError(f"the service answered {document.status_code} for the PSD: {document.text[:500]}")
        contents["document.psd"] = document.content
        say(f"  model {answer.headers.get('x-bfs-model')}, seed {answer.headers.get('x-bfs-seed')}")
    for name, content in contents.items():
        (output / name).write_bytes(content)
    return {Path(name).stem: str(output / name) for name in contents}
