"""What can be asked for, with the blocking client, of the real application."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_service import LiveService, live_service
from PIL import Image

from bfs_model.document import file as documents
from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_platform.client import BFSClient, sources
from bfs_platform.client.events import Event

from .conftest import png

BOX = (8, 4, 40, 28)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """One for all tests of this file: they leave nothing behind but jobs."""
    with live_service(tmp_path_factory.mktemp("service")) as running:
        yield running


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_a_layer_is_drawn(client: BFSClient, tmp_path: Path) -> None:
    """From a path, bytes or an image alike; the composite is the layer over the background; every event is told."""
    path = tmp_path / "room.png"
    path.write_bytes(png())
    told: list[Event] = []
    first = client.draw(path, BOX, "a ball", seed=7, steps=3, on_event=told.append)
    assert (first.seed, first.steps, first.box, first.status) == (7, 3, list(BOX), "succeeded")
    assert first.model is not None and first.model.name == "fake"
    np.testing.assert_array_equal(_pixels(first.png("composite")), composite_u8(_pixels(first.png()), _pixels(png())))
    assert (told[0].name, told[-1].name) == ("queued", "succeeded")
    assert [event.data["step"] for event in told if event.name == "progress"][-1] == 3
    assert client.draw(png(), BOX, "a ball", seed=7, steps=3).layer_png == first.layer_png
    assert client.draw(Image.open(path), BOX, "a ball", seed=7, steps=3).layer_png == first.layer_png


def test_candidates_reference_and_parts(client: BFSClient) -> None:
    """Candidates have consecutive seeds and each its parts; a reference does instead of a prompt."""
    drawn = client.draw(png(), BOX, reference=Image.new("RGBA", (9, 9), "red"), candidates=3, seed=5, split_effects=True)
    assert drawn.seeds == [5, 6, 7] == [candidate.seed for candidate in drawn.candidates]
    layers = {drawn.png("layer", n) for n in range(3)}
    assert len(layers) == 3 and drawn.png("layer", 0) == drawn.png()
    parts = [_pixels(drawn.png(part, 2))[..., 3].astype(int) for part in ("object", "effects")]
    np.testing.assert_array_equal(np.maximum(*parts) > 0, _pixels(drawn.png("layer", 2))[..., 3] > 0)
    np.testing.assert_array_equal(_pixels(client.file(drawn.id, "png", candidate=2)), _pixels(drawn.png("layer", 2)))
    for part, number in (("layer", 3), ("layer", -1)):
        with pytest.raises(BadInput, match="was not drawn"):
            drawn.png(part, number)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="object was not drawn"):
        client.draw(png(), BOX, "a ball").png("object")


def test_a_layer_is_taken_out(client: BFSClient) -> None:
    """With a box, and without: then it is where the pictures differ."""
    empty = _pixels(png()).copy()
    finished = empty.copy()
    finished[10:20, 12:30] = 255 - finished[10:20, 12:30]
    pictures = Image.fromarray(finished), Image.fromarray(empty)
    assert client.extract(*pictures).box == [12, 10, 30, 20]
    taken = client.extract(*pictures, BOX, "a ball", refit=True, joint_guidance=1.5, seed=3)
    assert (taken.kind, taken.box, taken.seed) == ("extraction", list(BOX), 3)


def test_a_document_and_one_layer_anew(client: BFSClient) -> None:
    """Layers from back to front, then one of them with another seed; the others keep their pixels."""
    scene = [
        {"name": "ball", "box": [2, 2, 20, 20], "prompt": "a ball", "seed": 1, "steps": None},
        {"name": "cup", "box": (20, 8, 44, 30), "reference": Image.new("RGBA", (9, 9), "blue"), "seed": 2},
    ]
    drawn = client.document(png(), scene)
    assert drawn.document_zip is not None
    before = documents.decode(client.file(drawn.id, "zip"))
    assert [(layer.name, layer.seed) for layer in before] == [("Background", None), ("ball", 1), ("cup", 2)]
    scene[0]["seed"] = 9
    again = client.document(png(), scene, redraw="ball", document=base64.b64decode(drawn.document_zip))
    after = documents.decode(client.file(again.id, "ora"))
    assert [(layer.name, layer.seed) for layer in after] == [("Background", None), ("ball", 9), ("cup", 2)]
    np.testing.assert_array_equal(after.layers[2].rgba, before.layers[2].rgba)
    assert (after.layers[1].rgba != before.layers[1].rgba).any()


def test_an_export_with_edits(client: BFSClient) -> None:
    """Layers are moved, faded, removed and reordered by the service."""
    scene = [{"name": name, "box": [2, 2, 20, 20], "prompt": name, "seed": 1} for name in ("ball", "cup", "box")]
    document = client.file(client.document(png(), scene).id, "zip")
    edits = [{"layer": "ball", "x": 5, "opacity": 0.5}, {"layer": "box", "remove": True}]
    names = [layer.name for layer in documents.decode(document)]
    made = client.export(document, edits, ["Background" if "Background" in names else names[0], "cup", "ball"])
    assert [(entry["name"], entry["opacity"]) for entry in made.layers[1:]] == [("cup", 1.0), ("ball", 0.5)]
    with Image.open(io.BytesIO(client.file(made.id, "png"))) as flat:
        assert flat.size == (48, 32)
    with pytest.raises(BadInput, match=r"edits\[0\]\.layer=plate is not a layer"):
        client.export(document, [{"layer": "plate", "x": 1}])


def test_jobs_over_pages(service: LiveService, client: BFSClient) -> None:
    """All jobs, newest first, page after page; by status where one is wished."""

    async def small_pages(app: Any, scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"query_string": b"limit=2"}, receive, send)

    started = [client.start("layers", {"background": png()}, {"box": "8,4,40,28", "prompt": "a ball", "steps": 1}) for _ in range(5)]
    service.faults["GET", "/v1/jobs"] = [small_pages]
    service.asked.clear()
    assert [job.id for job in client.jobs()][:5] == [job.id for job in reversed(started)]
    assert len(service.requests("GET")) >= 3
    for job in started:
        assert list(client.events(job.id))[-1].name == "succeeded"
    assert next(iter(client.jobs("succeeded"))).id == started[-1].id
    assert list(client.jobs("canceled")) == []
    assert client.job(started[0].id).status == "succeeded" and client.result(started[0].id).layer_png
    client.forget(started[0].id)
    with pytest.raises(BadInput):
        client.result(started[0].id)


def test_what_is_served(client: BFSClient) -> None:
    """The models, with their versions."""
    (model,) = client.models()
    assert (model.name, model.default, model.state, model.version) == ("fake", True, "ready", "fake-fake")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "x" * 1001}, "prompt=<1001 characters> is longer than"),
        ({"prompt": "a ball", "box": (0, 0, 99, 9)}, "box=0,0,99,9 leaves the image of 48x32"),
        ({"prompt": "a ball", "model": "nobody"}, "model: There is no such model here"),
        ({"prompt": "a ball", "sed": 7}, "sed"),
        ({"prompt": "a ball", "steps": 201}, "steps"),
        ({"prompt": "refuse"}, "prompt=<6 characters> is refused"),
    ],
)
def test_what_is_refused(client: BFSClient, fields: dict[str, object], said: str) -> None:
    """`BadInput` that names the field, whether the service refuses it or, later, the model."""
    with pytest.raises(BadInput, match=said):
        client.draw(png(), **{"box": BOX} | fields)  # type: ignore[arg-type]


def test_what_is_no_picture(client: BFSClient, tmp_path: Path) -> None:
    """Said before anything is sent, by the name of the field."""
    for source in (tmp_path / "none.png", 7):
        with pytest.raises(BadInput) as refused:
            client.draw(source, BOX, "a ball")
        assert refused.value.key == "background"


def test_a_pil_image_is_sent_as_it_is_seen(tmp_path: Path) -> None:
    """Upright, as phones mean it, and in colours that a PNG has."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (40, 20), "red").save(tmp_path / "phone.jpg", exif=exif)
    Image.new("CMYK", (8, 6)).save(tmp_path / "print.jpg")
    sizes = []
    for name in ("phone.jpg", "print.jpg"):
        with Image.open(tmp_path / name) as picture:
            _, data = sources.read(picture, "background")
        with Image.open(io.BytesIO(data)) as sent:
            sizes.append((sent.format, sent.mode, sent.size))
    assert sizes == [("PNG", "RGB", (20, 40)), ("PNG", "RGB", (8, 6))]


def test_a_file_whose_name_is_no_text_can_be_sent(tmp_path: Path) -> None:
    """The name is only told; somebody's home that is not there is no file."""
    path = tmp_path / "caf\udce9.png"
    path.write_bytes(b"x")
    assert sources.read(path, "background") == ("caf?.png", b"x")
    with pytest.raises(BadInput, match="~nobody-of-this-name/a.png cannot be read"):
        sources.read("~nobody-of-this-name/a.png", "background")
