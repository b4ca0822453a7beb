"""Object and effects as two layers, over HTTP."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from bfs_model import LayerStack
from bfs_model.document import file as documents
from bfs_model.picture.compositing import composite_u8

FIELDS = {"box": "8,4,40,28", "prompt": "a red ball", "seed": "7", "steps": "2", "split_effects": "true"}
WAIT = {"Prefer": "wait=20"}


def post(client: TestClient, image: bytes, accept: str, **changes: str) -> Any:
    response = client.post("/v1/layers", files={"background": ("b.png", image)}, data=FIELDS | changes, headers=WAIT | {"Accept": accept})
    assert response.status_code == 200, response.text
    return response


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_json_holds_the_parts_as_well(client: TestClient, make_png: Any) -> None:
    """Both of the canvas' size; effects, then object, over the background give the composite within a level."""
    result = post(client, make_png(), "application/json").json()
    whole, thing, effects = (decoded(result[f"{name}_png"]) for name in ("layer", "object", "effects"))
    assert whole.shape == thing.shape == effects.shape == (32, 48, 4)
    assert thing[..., 3].max() == 255 and effects[..., 3].any() and not np.array_equal(whole, thing)
    stack = LayerStack.new(Image.open(io.BytesIO(make_png())))
    stack.add(effects)
    stack.add(thing)
    assert np.abs(np.asarray(stack.flatten()).astype(int) - decoded(result["composite_png"])).max() <= 1
    assert {"object_png", "effects_png"}.isdisjoint(post(client, make_png(), "application/json", split_effects="false").json())


@pytest.mark.parametrize("media", ["application/zip", "image/vnd.adobe.photoshop", "image/openraster"])
def test_documents_hold_a_group_of_two(client: TestClient, make_png: Any, media: str) -> None:
    """Each with prompt, seed and model."""
    layers = documents.decode(post(client, make_png(), media).content).layers
    assert [(layer.part, layer.group) for layer in layers] == [(None, None), ("effects", "a red ball"), ("object", "a red ball")]
    assert all((layer.seed, layer.model) == (7, {"name": "fake", "version": "fake-fake"}) for layer in layers[1:])
    assert len(documents.decode(post(client, make_png(), media, split_effects="false").content)) == 2


def test_a_png_is_the_whole_layer(client: TestClient, make_png: Any) -> None:
    """One picture holds one layer."""
    whole = post(client, make_png(), "image/png").content
    assert whole == post(client, make_png(), "image/png", split_effects="false").content


def test_a_transparent_background_is_seen_over_white(client: TestClient) -> None:
    """Its hidden colours come out in no composite; the document keeps them."""
    rgba = np.random.default_rng(3).integers(0, 256, (32, 48, 4), np.uint8)
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    result = post(client, out.getvalue(), "application/json").json()
    white = np.rint(rgba[..., :3] * (rgba[..., 3:] / 255) + 255 * (1 - rgba[..., 3:] / 255)).astype(np.uint8)
    expected = composite_u8(decoded(result["layer_png"]), white)
    assert np.abs(decoded(result["composite_png"]).astype(int) - expected).max() <= 1
    stack = documents.decode(post(client, out.getvalue(), "image/openraster").content)
    assert np.array_equal(stack.layers[0].rgba, rgba)
