"""PNGs that the service gives: the pixels that were drawn, and inside how they came to be."""

import base64
import io
import json
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from bfs_model.document import file as documents

FIELDS = {"box": "8,4,40,28", "prompt": "赤い球", "seed": "7", "candidates": "2"}
WAIT = {"Prefer": "wait=20"}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_layer_says_how_it_came_to_be(client: TestClient, make_png: Any) -> None:
    """Each candidate as a PNG: the same pixels as in JSON, with prompt, its own seed, box, model, and size of the canvas inside."""
    drawn = client.post("/v1/layers", files={"background": ("b.png", make_png())}, data=FIELDS, headers=WAIT).json()
    for number, candidate in enumerate(drawn["candidates"]):
        png = client.get(f"{drawn['links']['result']}?format=png&candidate={number}").content
        np.testing.assert_array_equal(pixels(png), pixels(base64.b64decode(candidate["layer_png"])))
        told = documents.read_manifest(png)
        (layer,) = told["layers"]
        assert (told["width"], told["height"], layer["prompt"], layer["seed"], layer["box"]) == (
            48,
            32,
            "赤い球",
            7 + number,
            [8, 4, 40, 28],
        )
        assert layer["model"]["name"] == "fake"


def test_a_flat_picture_says_of_which_layers_it_is(client: TestClient, make_png: Any) -> None:
    """An export as PNG shows the composite, and lists all layers; sent back, it is a background."""
    zipped = client.post(
        "/v1/layers?format=zip", files={"background": ("b.png", make_png())}, data=FIELDS | {"candidates": "1"}, headers=WAIT
    )
    flat = client.post("/v1/exports?format=png", files={"document": ("d.zip", zipped.content)}, headers=WAIT).content
    assert [layer["prompt"] for layer in documents.read_manifest(flat)["layers"]] == [None, "赤い球"]
    back = client.post("/v1/exports", files={"document": ("d.png", flat)}, headers=WAIT).json()
    assert [layer["role"] for layer in back["layers"]] == ["background"]
    np.testing.assert_array_equal(pixels(base64.b64decode(back["composite_png"])), pixels(flat))


def test_a_photoshop_document_is_taken_as_it_comes(client: TestClient, make_png: Any) -> None:
    """Drawn as .psd, sent back with an edit, asked for as .zip: its layers, moved; one of them is drawn anew from it as well."""
    files, fields = {"background": ("b.png", make_png())}, FIELDS | {"candidates": "1"}
    psd = client.post("/v1/layers?format=psd", files=files, data=fields, headers=WAIT).content
    (name,) = [layer["name"] for layer in documents.read_manifest(psd)["layers"] if layer["role"] == "foreground"]
    edits = json.dumps([{"layer": name, "x": 20, "opacity": 0.5}])
    moved = client.post("/v1/exports?format=zip", files={"document": ("d.psd", psd)}, data={"edits": edits}, headers=WAIT)
    assert moved.status_code == 200, moved.text
    (layer,) = [layer for layer in documents.decode(moved.content) if layer.role == "foreground"]
    assert (layer.prompt, layer.x, layer.opacity) == ("赤い球", 20, 0.5)
    name = layer.id
    layers = json.dumps([{"name": name, "box": [8, 4, 40, 28], "prompt": "赤い球", "seed": 8}])
    files["document"] = ("d.psd", psd)
    anew = client.post("/v1/documents?format=psd", files=files, data={"redraw": name, "layers": layers}, headers=WAIT)
    assert anew.status_code == 200 and anew.content.startswith(b"8BPS"), anew.text
    assert [layer["seed"] for layer in documents.read_manifest(anew.content)["layers"]][1:] == [8]


def test_what_is_no_document_and_no_picture_is_refused(client: TestClient) -> None:
    """With what can be sent instead."""
    answer = client.post("/v1/exports", files={"document": ("d.gif", b"GIF89a")}, headers=WAIT)
    assert answer.status_code == 415 and ".zip, .ora or .psd" in answer.json()["detail"]
