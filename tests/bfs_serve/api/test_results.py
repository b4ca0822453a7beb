"""Results are what the sampler stored: asking for one computes nothing that was computed before."""

import base64
import hashlib
import io
from collections.abc import Callable

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from bfs_model.document import file as documents

FIELDS = {"box": "8,4,40,28", "prompt": "a ball", "seed": "7"}


def test_the_pictures_of_a_result_are_blobs(client: TestClient, make_png: Callable[..., bytes]) -> None:
    """Layer and composite both, each time the same bytes; also as a file."""
    service = client.app.state.service  # type: ignore[attr-defined]
    started = client.post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers={"Prefer": "wait=30"})
    address = f"/v1/jobs/{started.json()['id']}/result"
    first, second = client.get(address).json(), client.get(address).json()
    for name in ("layer_png", "composite_png"):
        assert first[name] == second[name] == started.json()[name]
        assert service.blobs.has(hashlib.sha256(base64.b64decode(first[name])).hexdigest()), name
    file = client.get(address, headers={"Accept": "image/png"}).content  # says inside how it was made
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (file, base64.b64decode(first["layer_png"]))]
    np.testing.assert_array_equal(*pixels)


def test_a_file_says_how_its_layer_was_made(client: TestClient, make_png: Callable[..., bytes]) -> None:
    """Whatever was asked for besides, by the commands' own names; nothing of what was left to the model."""
    asked = {"steps": "3", "true_cfg_scale": "2.5", "step_cache": "first_block"}
    headers = {"Prefer": "wait=30", "Accept": "image/openraster"}
    file = client.post("/v1/layers", files={"background": make_png()}, data=FIELDS | asked, headers=headers).content
    assert documents.decode(file).layers[-1].parameters == {"steps": 3, "true_cfg_scale": 2.5, "cache": "first_block"}
    plain = client.post("/v1/layers", files={"background": make_png()}, data=FIELDS, headers=headers).content
    assert documents.decode(plain).layers[-1].parameters == {}
    pictures = {"composite": make_png(), "background": make_png()}
    extracted = client.post("/v1/extractions", files=pictures, data=FIELDS | {"refit": "true", "joint_guidance": "0.5"}, headers=headers)
    made = documents.decode(extracted.content).layers[-1].parameters
    assert made | {"joint_guidance": 0.5, "refit": True} == made and "true_cfg_scale" not in made
