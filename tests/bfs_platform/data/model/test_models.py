"""Pretrained models of a build, exercised on tiny random weights in the published layouts."""

import json
import shutil
from dataclasses import fields, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.execute.draft import Prepared
from bfs_platform.data.execute.transit import pack_prepared, unpack_prepared
from bfs_platform.data.model.base import KINDS, device_of, find, identities, in_batches, named, object_crop, open_model
from bfs_platform.data.model.objectclear import fused
from bfs_platform.data.plan.unit import Receipt
from bfs_platform.data.record import Record, Reject
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec, FilterSpec, ModelsSpec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

PARTS = {name: kind.part for name, kind in KINDS.items() if name != "flux_shadow"}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder per model."""
    loader = spec_from_file_location("tiny_models", Path(__file__).with_name("tiny_models.py"))
    assert loader is not None and loader.loader is not None
    tiny: Any = module_from_spec(loader)
    loader.loader.exec_module(tiny)
    root = tmp_path_factory.mktemp("models")
    return {name: str(getattr(tiny, name)(root / name)) for name in PARTS}


def with_models(spec: DataSpec, folders: dict[str, str], *names: str, **models: Any) -> DataSpec:
    """`spec` with the models `names` in their parts; the filter lets everything pass."""
    parts = {PARTS[name]: getattr(spec, PARTS[name]).model_copy(update={"kind": name}) for name in names}
    parts["models"] = ModelsSpec(**(folders | {"batch_size": 2, "objectclear_steps": 2} | models))
    return spec.model_copy(update=parts | ({"filter": FilterSpec(kind="clip", min_score=-1)} if "clip" in names else {}))


@pytest.fixture
def records(rorem_seven: Path) -> list[Record]:
    """Three records of 32×32, read; the last has no caption."""
    pictures = {}
    for role, folder in (("composite", "source"), ("background", "GT"), ("object_mask", "mask")):
        pictures[role] = [np.asarray(Image.open(rorem_seven / folder / f"{i:04d}.png")) for i in range(3)]
    captions = ("a red disk", "a green disk", " ")
    return [Record(f"{i:04d}", captions[i], *(pictures[role][i] for role in pictures)) for i in range(3)]


def test_vitmatte_cuts_layers(records: list[Record], folders: dict[str, str], pixel_spec: DataSpec) -> None:
    """Alpha is what the trimap knows and, in its band, what the network says; a layer that is there already stays."""
    model = open_model("vitmatte", with_models(pixel_spec, folders, "vitmatte"))
    own = np.full((32, 32, 4), 7, np.uint8)
    answers = model([replace(records[0], foreground=own), *records[1:]])
    assert all(isinstance(answer, Record) for answer in answers)
    layers = [answer.foreground for answer in answers if isinstance(answer, Record)]
    assert layers[0] is own
    for layer, record in zip(layers[1:], records[1:], strict=True):
        assert layer is not None and layer.shape == (32, 32, 4) and layer.dtype == np.uint8
        far = np.pad(record.object_mask == 0, 0)
        far[max(0, np.nonzero(record.object_mask.any(1))[0][0] - 4) : np.nonzero(record.object_mask.any(1))[0][-1] + 5] = False
        assert (layer[far, 3] == 0).all() and layer[..., 3].max() == 255
        band = (layer[..., 3] > 0) & (layer[..., 3] < 255)
        assert band.any(), "random weights leave a band that is neither"


def test_sam2_replaces_boxes_only(records: list[Record], folders: dict[str, str], pixel_spec: DataSpec) -> None:
    """A record with a box gets a mask of the picture's size, one with a mask keeps it, a box outside is a reject."""
    model = open_model("sam2", with_models(pixel_spec, folders, "sam2"))
    boxed = replace(records[0], object_mask=np.pad(np.full((10, 12), 255, np.uint8), ((4, 18), (6, 14))), mask_is_box=True)
    outside = replace(boxed, object_mask=np.zeros((32, 32), np.uint8))
    drawn, kept, refused = model([boxed, records[1], outside])
    assert isinstance(drawn, Record) and not drawn.mask_is_box
    assert drawn.object_mask.shape == (32, 32) and set(np.unique(drawn.object_mask)) <= {0, 255}
    assert not np.array_equal(drawn.object_mask, boxed.object_mask)
    assert kept is records[1] and isinstance(refused, Reject)
    other = replace(boxed, object_mask=np.roll(boxed.object_mask, 8, axis=1))
    moved = model([other])[0]
    assert isinstance(moved, Record) and not np.array_equal(moved.object_mask, drawn.object_mask), "the box decides"


def test_blip2_captions_what_has_none(records: list[Record], folders: dict[str, str], pixel_spec: DataSpec) -> None:
    """Only blank captions are written, or all when asked; the same picture gets the same words in any batch."""
    spec = with_models(pixel_spec, folders, "blip2")
    answers = open_model("blip2", spec)(records)
    captions = [answer.caption for answer in answers if isinstance(answer, Record)]
    assert captions[:2] == ["a red disk", "a green disk"] and captions[2].strip()
    every = spec.model_copy(update={"caption": spec.caption.model_copy(update={"replace": True, "max_tokens": 4})})
    together, alone = open_model("blip2", every)(records), open_model("blip2", every)(records[1:2])
    assert isinstance(together[1], Record) and isinstance(alone[0], Record) and together[1].caption == alone[0].caption != "a green disk"


def test_clip_scores_decide(records: list[Record], folders: dict[str, str], pixel_spec: DataSpec) -> None:
    """Records below the level are rejects with their score, the others pass untouched; a score depends on picture and caption."""
    spec = with_models(pixel_spec, folders, "clip")
    model: Any = open_model("clip", spec)
    scores = model.scores(records)
    assert len(set(scores)) == 3 and all(-1 <= score <= 1 for score in scores)
    assert model.scores([replace(records[0], caption="a green disk")])[0] != scores[0]
    level = sorted(scores)[1]
    strict: Any = open_model("clip", spec.model_copy(update={"filter": FilterSpec(kind="clip", min_score=level - 1e-6)}))
    answers = strict(records)
    assert [isinstance(answer, Reject) for answer in answers] == [score == min(scores) for score in scores]
    assert f"{min(scores):.3f}" in str(next(a for a in answers if isinstance(a, Reject)))


def test_objectclear_changes_what_it_looks_at(records: list[Record], folders: dict[str, str], pixel_spec: DataSpec) -> None:
    """A background for every record, the same for a record in any batch, and another for another mask of it."""
    model = open_model("objectclear", with_models(pixel_spec, folders, "objectclear", batch_size=3))
    answers = model([replace(record, background=None) for record in records])
    backgrounds = [answer.background for answer in answers if isinstance(answer, Record)]
    assert len(backgrounds) == 3 and all(b is not None and b.shape == (32, 32, 3) and b.dtype == np.uint8 for b in backgrounds)
    again = model(records[1:2])[0]
    assert isinstance(again, Record) and again.background is not None and backgrounds[1] is not None
    assert np.abs(again.background.astype(int) - backgrounds[1]).max() <= 2
    inside = records[1].object_mask == 255
    assert not np.array_equal(backgrounds[1][inside], records[1].composite[inside])


def test_fusion_keeps_the_original_where_nobody_looked(records: list[Record]) -> None:
    """Under the mask and where attention is high the picture is new, far from both it is the old one to the last bit."""
    record = replace(records[0], object_mask=np.zeros((32, 32), np.uint8), composite=np.full((96, 64, 3), 50, np.uint8))
    record.object_mask = np.zeros((96, 64), np.uint8)
    record.object_mask[80:90, 40:50] = 255
    looked = np.zeros((12, 8))
    looked[1, 1] = 1
    out = fused(record, np.full((96, 64, 3), 200.0), looked.ravel())
    assert (out[85, 45] == 200).all() and (out[12, 12] == 200).all() and (out[50, 20] == 50).all()


@pytest.mark.parametrize("stage", [1, 2])
def test_a_build_with_every_model(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec, folders: dict[str, str], stage: int) -> None:
    """All five in one recipe: records complete, named with their hashes in the manifest, timed, and Ĉ = F̂ over B exactly."""
    names = list(PARTS)
    spec = with_models(pixel_spec.model_copy(update={"stage": stage, "max_reject_rate": 1.0, "max_records": 3}), folders, *names)
    source = open_source("rorem", rorem_seven)
    manifest = build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))
    facts = json.loads(manifest.read_text())
    assert set(facts["body"]["models"]) == set(names) and set(names) <= set(facts["notes"]["stage_s"])
    assert facts["body"]["models"]["clip"]["name"] == "clip" and len(facts["body"]["models"]["clip"]["content_hash"]) == 64
    dataset = open_dataset(tmp_path / "out")
    for index in range(len(dataset)):
        layer, background, composite = (dataset.pictures(n, [index])[0] for n in ("foreground", "background", "composite"))
        assert layer is not None and background is not None
        if stage == 1:
            np.testing.assert_array_equal(composite_u8(layer, background), composite)


def test_missing_and_unsafe_weights_are_errors_before_any_record(
    rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec, folders: dict[str, str]
) -> None:
    """An absent folder, a hub that does not answer, a folder without a file, and pickled weights: one line, nothing begun."""
    pickled = Path(shutil.copytree(folders["clip"], tmp_path / "models" / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    half = Path(shutil.copytree(folders["clip"], tmp_path / "models" / "half"))
    (half / "tokenizer.json").unlink()
    source = open_source("rorem", rorem_seven)
    for weights, said in (
        (str(tmp_path / "absent"), "is not a folder"),
        ("nobody/nothing", "neither a folder nor a model that the hub gives"),
        (str(half), "lacks tokenizer.json"),
        (str(pickled), "pickled weights are never loaded"),
    ):
        spec = with_models(pixel_spec, folders | {"clip": weights}, "clip")
        with pytest.raises(BadInput, match=said) as caught:
            build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))
        assert caught.value.key == "models.clip"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["models"]


def test_recipes_without_models_are_known_as_before(pixel_spec: DataSpec, folders: dict[str, str], tmp_path: Path) -> None:
    """Parts that came later do not show in a recipe that leaves them alone; weights change what a set is known by."""
    assert not {"models", "caption", "mask", "filter", "execution"} & set(pixel_spec.identity()["spec"])
    assert named(pixel_spec) == [] and identities(pixel_spec) == {}
    spec = with_models(pixel_spec, folders, "sam2", "clip")
    assert named(spec) == ["sam2", "clip"] and "models" in spec.identity()["spec"]
    assert find("clip", spec) == Path(folders["clip"])
    assert identities(spec)["clip"]["content_hash"] != identities(spec)["sam2"]["content_hash"]
    elsewhere = {**folders, "clip": str(shutil.copytree(folders["clip"], tmp_path / Path(folders["clip"]).name))}
    moved = with_models(pixel_spec, elsewhere, "sam2", "clip")
    assert identities(moved) == identities(spec) and moved.content() == spec.content() and moved.decisions() == spec.decisions()
    fewer = moved.model_copy(update={"models": moved.models.model_copy(update={"batch_size": 3})})
    assert fewer.content() != spec.content(), "what models are told counts"


def test_units_travel_between_stages(records: list[Record]) -> None:
    """Packed and unpacked, every picture, caption and reject is the same."""
    records[0].mask_is_box = records[2].whole_layer = True
    records[1].effect_mask = records[1].object_mask // 2
    receipt = Receipt(3, "key", None, [], [{"id": "x", "reason": "missing", "detail": "ü"}], {"compose": 0.5})
    batch = {name: np.array(value, object) for name, value in pack_prepared(Prepared(tuple(records), receipt, ("x", "0000"))).items()}
    back = unpack_prepared(batch)
    assert back.receipt == receipt and back.order == ("x", "0000")
    for one, two in zip(back.records, records, strict=True):
        for field in fields(Record):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name), err_msg=field.name)


def test_batches_hold_one_size(records: list[Record]) -> None:
    """At most so many at a time, all of one height and width, and only what is wanted; crops keep inside the picture."""
    wide = replace(records[0], id="wide", composite=np.zeros((16, 48, 3), np.uint8), object_mask=np.zeros((16, 48), np.uint8))
    mixed = [records[0], wide, records[1], records[2]]
    seen: list[list[str]] = []

    def work(batch: list[Record]) -> list[str]:
        seen.append([record.id for record in batch])
        return seen[-1]

    assert dict(in_batches(mixed, 2, work, wanted=lambda record: record.id != "0001")) == {0: "0000", 3: "0002", 1: "wide"}
    assert seen == [["0000", "0002"], ["wide"]]
    assert object_crop(wide).shape == (16, 48, 3) and object_crop(records[0]).size < records[0].composite.size


@pytest.mark.parametrize(("in_ray", "given", "device"), [(False, [], "cuda"), (True, [0], "cuda"), (True, [], "cpu")])
def test_a_gpu_is_used_only_by_those_who_were_given_it(in_ray, given, device, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that asked for none stays on the CPU, also on a machine that has some."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ray, "is_initialized", lambda: in_ray)
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: given)
    assert device_of() == device
