"""The classifier of shapes and colours: what it is shown, what it is asked, and how it enters the figures."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from bfs_model import integrity
from bfs_model.errors import IntegrityError
from bfs_model.picture.boxes import Box
from bfs_platform.evaluate.metric.measure import measure
from bfs_platform.evaluate.metric.metrics import box_iou
from bfs_platform.evaluate.metric.recogniser import KIND, Recogniser, crop_around, load_recogniser
from bfs_platform.evaluate.samples import list_entries, read_sample
from bfs_platform.evaluate.system.truth import Identity, Truth
from bfs_platform.tabletop.vocabulary import words_of


def test_the_crop_is_centred_on_the_box() -> None:
    """The middle of the crop is the middle of the box, a margin stands around it, and beyond the picture its edge goes on."""
    picture = torch.zeros(3, 40, 60)
    picture[:, 10:20, 30:40] = 1
    crop = crop_around(picture, Box(30, 10, 40, 20), 32)
    assert crop.shape == (3, 32, 32)
    share = float(crop.mean())
    assert share == pytest.approx((1 / 1.24) ** 2, abs=0.05), "the box takes 1/1.24 of the side"
    assert torch.allclose(crop, crop.flip(-1), atol=0.05) and torch.allclose(crop, crop.flip(-2), atol=0.05)
    assert float(crop_around(torch.ones(3, 8, 8), Box(0, 0, 8, 8), 16).min()) == 1


def test_words_of_captions() -> None:
    """Shape and colour as captions say them; other texts name neither."""
    assert words_of("a large blue glazed ceramic cone") == ("cone", "blue")
    assert [words_of(text) for text in ("", "a dog", "a blue dog", "a cone", "a red blue cone")] == [None] * 5


def test_it_learns_and_survives_a_journey_to_disk(tmp_path) -> None:
    """A few steps separate two colours and two shapes; saved and loaded it answers the same; a flipped bit is noticed."""
    torch.manual_seed(0)
    model = Recogniser(shapes=("square", "bar"), colours=("red", "blue"), side=16, width=8)
    pictures = np.zeros((4, 20, 20, 3), np.uint8)
    for i in range(4):
        pictures[i, 4:16, (4 if i % 2 == 0 else 8) : (16 if i % 2 == 0 else 12), 0 if i < 2 else 2] = 255
    box = Box(4, 4, 16, 16)
    crops = torch.stack([crop_around(torch.from_numpy(p.astype(np.float32) / 127.5 - 1).permute(2, 0, 1), box, 16) for p in pictures])
    shapes, colours = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        logits = model(crops)
        loss = torch.nn.functional.cross_entropy(logits[0], shapes) + torch.nn.functional.cross_entropy(logits[1], colours)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    answers = [model.recognise(picture, box) for picture in pictures]
    assert answers == [("square", "red"), ("bar", "red"), ("square", "blue"), ("bar", "blue")]
    staging = integrity.staging_for(tmp_path / "model")
    model.save_pretrained(staging)
    integrity.commit(staging, tmp_path / "model", KIND, {})
    assert [load_recogniser(tmp_path).recognise(picture, box) for picture in pictures] == answers
    weights = next((tmp_path / "model").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(IntegrityError, match="damaged"):
        load_recogniser(tmp_path)


class _Sees:
    """A fake that always sees the same thing, and keeps what it was shown."""

    def __init__(self, shape: str, colour: str) -> None:
        self.answer, self.shown = (shape, colour), []

    def knows(self, shape: str, colour: str) -> tuple[bool, bool]:
        return shape != "heart", True

    def recognise(self, picture: np.ndarray, box: Box) -> tuple[str, str]:
        self.shown.append(picture)
        return self.answer


def test_recognition_enters_the_figures(make_source) -> None:
    """Right words count 1, wrong ones 0, captions of other worlds not at all; what is shown is the layer over the background."""
    root = make_source(1, meta={"caption": "a small red matte cube"})
    sample = read_sample(list_entries(root)[0], root, 10**6)
    recogniser = _Sees("cube", "blue")
    figures = measure(Truth().predict(sample, 0, None), sample, 0.05, recogniser)
    assert (figures["shape_recognised"], figures["colour_recognised"]) == (1, 0)
    assert np.abs(recogniser.shown[0].astype(int) - sample.truth).max() <= 1
    strange = dataclasses.replace(sample, caption="a small red matte heart")
    figures = measure(Truth().predict(strange, 0, None), strange, 0.05, recogniser)
    assert (figures["shape_recognised"], figures["colour_recognised"]) == (None, 0), "it has no word for this shape"
    other = read_sample(list_entries(make_source(1, folder="other"))[0], root.parent / "other", 10**6)
    assert measure(Truth().predict(other, 0, None), other, 0.05, recogniser)["shape_recognised"] is None


def test_box_obedience(make_source) -> None:
    """The bounding box of what is drawn against the box asked for."""
    root = make_source(1)
    sample = read_sample(list_entries(root)[0], root, 10**6)
    assert measure(Truth().predict(sample, 0, None), sample, 0.05)["box_iou"] == 1
    assert measure(Identity().predict(sample, 0, None), sample, 0.05)["box_iou"] == 0
    assert box_iou(Box(0, 0, 2, 2), Box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert box_iou(Box(0, 0, 2, 2), Box(5, 5, 6, 6)) == 0


def test_the_shipped_classifier_knows_true_renders() -> None:
    """It names shape and colour of rendered scenes whose combinations it never saw."""
    from PIL import Image

    from bfs_platform.tabletop.sample import Request, make_sample

    recogniser, right = load_recogniser(), []
    for index in range(3):
        sample = make_sample(Request(seed=5, split="heldout", resolution=128, samples=16, world=2), index)
        picture = np.asarray(Image.open(io.BytesIO(sample.images["source"])))
        words = words_of(sample.record["caption"])
        assert words is not None
        seen = recogniser.recognise(picture, Box.of(sample.record["box"]))
        right += [seen[0] == words[0], seen[1] == words[1]]
    assert sum(right) >= 5, right
