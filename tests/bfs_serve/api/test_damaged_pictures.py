"""Damaged pictures and documents: refused, or drawn; never a failure of the service, and never a job that fails for them."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from damaged import damaged, whole
from fastapi.testclient import TestClient
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.document.layers import LayerStack
from bfs_serve.store.records import Limits

from .test_hostile_pictures import bomb_of_text

# Pillow warns of what it mends; only here do warnings end in errors, and the sampler draws in this process.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

Serve = Callable[..., TestClient]
MakePng = Callable[..., bytes]

PICTURES = whole()
FIELDS = {"box": "8,4,40,28", "prompt": "a ball", "seed": "7", "steps": "1"}
MANY = Limits(max_queued=10_000, owner_max_queued=10_000)
REFUSED = (413, 415, 422)


def ends(client: TestClient) -> dict[str, str]:
    """How all jobs ended, by id: the status, or why a job failed."""
    found: dict[str, str] = {}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        page = client.get("/v1/jobs", params={"limit": 200}).json()["jobs"]
        found = {job["id"]: job.get("problem", {}).get("type", job["status"]) for job in page}
        if not {"queued", "running"} & set(found.values()):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_picture_is_refused_or_drawn(serve: Serve, make_png: MakePng, name: str) -> None:
    """As background and as reference. What is taken on can be drawn."""
    client = serve(limits=MANY)
    for how, data in [("whole", PICTURES[name]), *damaged(name, PICTURES[name])]:
        for files in ({"background": data}, {"background": make_png(), "reference": data}):
            answer = client.post("/v1/layers", files=files, data=FIELDS)
            assert answer.status_code in (202, *REFUSED), (how, answer.status_code, answer.text)
            assert how != "whole" or answer.status_code in (202, 415)
    assert set(ends(client).values()) <= {"succeeded"}


def stack() -> LayerStack:
    """A background and one layer."""
    made = LayerStack.new(Image.new("RGB", (48, 32)))
    made.add(np.full((32, 48, 4), 200, np.uint8), id="ball", name="ball")
    return made


def document(layer: bytes = b"", pack: int = zipfile.ZIP_STORED, copies: int = 1, **changes: object) -> bytes:
    """A document of ours; with `layer` as every layer's picture, with `changes` in its manifest's entries."""
    given = zipfile.ZipFile(io.BytesIO(documents.encode(stack(), ".zip")))
    entries = {name: given.read(name) for name in given.namelist()}
    manifest = json.loads(entries["manifest.json"])
    for entry in manifest["layers"]:
        if layer:
            entries[entry["file"]], entry["sha256"] = layer, hashlib.sha256(layer).hexdigest()
        entry |= changes
    manifest["layers"] += [manifest["layers"][-1] | {"id": f"ball-{n}"} for n in range(1, copies)]
    entries["manifest.json"] = json.dumps(manifest).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", pack) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def png(side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (side, side), (9, 9, 9, 9)).save(out, "PNG")
    return out.getvalue()


def zip_of(name: str, content: bytes, count: int = 1) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(name.format(number), content)
    return out.getvalue()


HOSTILE = {
    "empty": b"",
    "start alone": b"PK\x03\x04",
    "cut off": document()[:-30],
    "no directory": document()[:200],
    "zip bomb": zip_of("manifest.json", bytes(2**26)),
    "many entries": zip_of("layers/{}.png", b"x", 2000),
    "deep JSON": zip_of("manifest.json", b"[" * 100_000),
    "not a number": document(x=float("nan")),
    "far away": document(x=2**40),
    "as large as an integer": document(x=2**31 - 1),
    "opacity": document(opacity=1e308),
    "not a PNG": document(layer=b"\xff\xd8\xff" + bytes(100)),
    "cut picture": document(layer=png(64)[:-20]),
    "text bomb": document(layer=bomb_of_text(2**20)),
    "large layers": document(layer=png(2000), copies=9),
    "same id": document(id="ball"),
    "Photoshop, cut off": documents.encode(stack(), ".psd")[:-30],
    "Photoshop, its start alone": b"8BPS",
    "Photoshop, too large a canvas": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\x75\x30\0\0\x75\x30\0\x08\0\3" + bytes(14),
    "Photoshop of others": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\1\0\0\0\1\0\x08\0\3" + bytes(17),
    "XML": zip_of("stack.xml", b'<!DOCTYPE a [<!ENTITY b "' + b"c" * 1000 + b'">]><image w="9" h="9">' + b"&b;" * 9000 + b"</image>"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_or_exported(serve: Serve, make_png: MakePng, name: str) -> None:
    """By the request or by the job, which then says what is wrong; the next one is exported."""
    client = serve(limits=MANY)
    answers = [client.post("/v1/exports", files={"document": ("d.zip", HOSTILE[name])})]
    layers = json.dumps([{"name": "ball", "box": [8, 4, 40, 28], "prompt": "a ball", "seed": 1}])
    files = {"background": ("b.png", make_png()), "document": ("d.zip", HOSTILE[name])}
    answers.append(client.post("/v1/documents", files=files, data={"redraw": "ball", "layers": layers}))
    assert {answer.status_code for answer in answers} <= {202, *REFUSED}, [answer.text for answer in answers]
    assert set(ends(client).values()) <= {"succeeded", "urn:bfs:problem:invalid"}
    good = client.post("/v1/exports", files={"document": ("d.zip", document())}, headers={"Prefer": "wait=60"})
    assert good.status_code == 200
