"""Sources whose layers are given: as a folder, as Parquet, in WebDataset tars, and as our own documents. No matting, no shadow."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import draw_scene
from PIL import Image

from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.execute.finish import BuildFailed
from bfs_platform.data.record import Row
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import CheckSpec, DataSpec, ShadowSpec

SIDE = 64
Writer = Callable[[Path, list[dict[str, np.ndarray]]], Path]


def scenes(number: int) -> list[dict[str, np.ndarray]]:
    """Disks with shadows as layers: a red disk of alpha 255 and a dark shadow of up to 128, over a gradient."""
    found = []
    for index in range(number):
        pictures, _ = draw_scene(index, SIDE)
        background, mask = pictures["GT"], pictures["mask"]
        shadow = np.where(pictures["effect"] > 127, 100, 0).astype(np.uint8)
        layer = np.dstack([np.where(mask[..., None] > 127, (200, 40, 30), 0).astype(np.uint8), np.maximum(mask, shadow)])
        found.append({"composite": composite_u8(layer, background), "background": background, "foreground": layer, "mask": mask})
    return found


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def as_folder(root: Path, given: list[dict[str, np.ndarray]]) -> Path:
    for number, pictures in enumerate(given):
        for name, picture in pictures.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{number}.png").write_bytes(png(picture))
        (root / "caption").mkdir(exist_ok=True)
        (root / "caption" / f"{number}.txt").write_text(f"red disk {number}\n")
    return root


def as_parquet(root: Path, given: list[dict[str, np.ndarray]]) -> Path:
    root.mkdir()
    columns = {name: [png(pictures[name]) for pictures in given] for name in given[0]}
    pq.write_table(pa.table(columns | {"caption": [f"red disk {n}" for n in range(len(given))]}), root / "train.parquet", row_group_size=2)
    return root


def as_tars(root: Path, given: list[dict[str, np.ndarray]]) -> Path:
    """Two tars, one compressed; captions as text and as JSON, before and behind the pictures."""
    root.mkdir()
    for name, numbers in (("part-0.tar", range(2)), ("part-1.tar.gz", range(2, len(given)))):
        with tarfile.open(root / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for number in numbers:
                text = json.dumps({"caption": f"red disk {number}"}) if number % 2 else f"red disk {number}"
                files = [(f"a/{number}.{'json' if number % 2 else 'txt'}", text.encode())]
                files += [(f"a/{number}.{role}.png", png(picture)) for role, picture in given[number].items()]
                for path, data in files[:: -1 if number % 2 else 1]:
                    info = tarfile.TarInfo(path)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return root


FORMS: dict[str, Writer] = {"layered": as_folder, "layered_parquet": as_parquet, "layered_webdataset": as_tars}


def spec_of(stage: int = 1, **own: Any) -> DataSpec:
    spec = DataSpec(stage=stage, buckets=((SIDE, SIDE),), records_per_shard=2, max_reject_rate=0.5, checks=CheckSpec(duplicate_bits=None))
    return spec.model_copy(update={"encode": spec.encode.model_copy(update={"enabled": False}), **own})


def built(name: str, root: Path, output: Path, spec: DataSpec) -> Path:
    source = open_source(name, root)
    build(source, output, spec, stream=in_process(source, spec, output))
    return output


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shown", [("composite", "background", "foreground", "mask"), ("background", "foreground")])
def test_layers_come_through_as_they_are(form: str, shown: tuple[str, ...], tmp_path: Path) -> None:
    """Stage 1 of each form: layer, background and composite are those given, to the last bit, whatever the shadow setting says; the box
    lies around the object alone, also where nobody gave its mask or a composite; captions are found."""
    given = scenes(4)
    root = FORMS[form](tmp_path / "input", [{name: one[name] for name in shown} for one in given])
    dataset = open_dataset(built(form, root, tmp_path / "out", spec_of(loosen_box=0.0)), stage=1)
    assert dataset.take(range(4), ["caption"])["caption"] == [f"red disk {n}" for n in range(4)]
    for number, one in enumerate(given):
        layer, background, composite = (dataset.pictures(n, [number])[0] for n in ("foreground", "background", "composite"))
        assert layer is not None
        shown_at = one["foreground"][..., 3] > 0
        np.testing.assert_array_equal(layer[..., 3], one["foreground"][..., 3])
        np.testing.assert_array_equal(layer[shown_at], one["foreground"][shown_at])
        np.testing.assert_array_equal(background, one["background"])
        np.testing.assert_array_equal(composite, one["composite"])
        rows, columns = np.nonzero(one["mask"] > 127)
        tight = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(dataset.boxes([number])[0] - tight).max() <= 2, "the shadow is not part of the box"


def test_no_setting_touches_a_given_layer(tmp_path: Path) -> None:
    """Stage 2 shows the same, and recipes that would take effects from a mask, or fill backgrounds in, leave given ones alone."""
    root = as_folder(tmp_path / "input", scenes(2))
    hashes = set()
    for number, own in enumerate(({}, {"shadow": ShadowSpec(kind="dataset")}, {"shadow": ShadowSpec(kind="none")})):
        dataset = open_dataset(built("layered", root, tmp_path / f"{number}", spec_of(**own)), stage=1)
        hashes.add(tuple(picture.tobytes() for picture in dataset.pictures("foreground", [0, 1]) if picture is not None))
    second = open_dataset(built("layered", root, tmp_path / "second", spec_of(2)), stage=2)
    hashes.add(tuple(picture.tobytes() for picture in second.pictures("foreground", [0, 1]) if picture is not None))
    assert len(hashes) == 1


def test_a_layer_of_another_picture_is_set_aside(tmp_path: Path) -> None:
    """Composite and layer must belong together: named, with the numbers, and with what to do when all are so."""
    given = scenes(3)
    given[1]["composite"] = given[2]["composite"]
    root = as_folder(tmp_path / "input", given)
    assert open_dataset(built("layered", root, tmp_path / "out", spec_of())).body["rejects"] == {"layer_misfit": 1}
    with pytest.raises(BuildFailed, match=r"layer_misfit 1.* differs from the composite by \d+.* raise layers.max_error"):
        built("layered", root, tmp_path / "strict", spec_of(max_reject_rate=0.1))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """A folder without layers, a table without them, a tar of something else; a sample of a tar without its background."""
    (tmp_path / "foreground").mkdir()
    with pytest.raises(BadInput, match="has no folder background/"):
        list(open_source("layered", tmp_path).rows())
    pq.write_table(pa.table({"composite": [b""]}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="it needs at least foreground, background"):
        list(open_source("layered_parquet", tmp_path / "x.parquet").rows())
    rows = list(open_source("layered_webdataset", as_tars(tmp_path / "tars", [{"foreground": o["foreground"]} for o in scenes(3)])).rows())
    assert [row.problem for row in rows] == [f"a/{n} has no background" for n in range(3)]
    with tarfile.open(tmp_path / "other.tar", "w") as archive:
        archive.add(tmp_path / "x.parquet", "x.parquet")
    with pytest.raises(BadInput, match=r"holds no KEY\.foreground\.png"):
        list(open_source("layered_webdataset", tmp_path / "other.tar").rows())


def document(root: Path, name: str) -> LayerStack:
    """A gradient, a grey layer that multiplies, and a disk split into effects and object, above it a hidden layer."""
    one = scenes(1)[0]
    stack = LayerStack.new(one["background"])
    grey = np.zeros((SIDE, SIDE, 4), np.uint8)
    grey[40:60, 4:60] = (128, 128, 128, 255)
    stack.add(grey, name="a strip of shade", blend_mode="multiply", opacity=0.5)
    disk = stack.add(one["foreground"], name="Layer 7", prompt="a red disk", box=(16, 16, 48, 48))
    stack.split_effects(disk.id)
    stack.add(one["foreground"], name="hidden", visible=False)
    root.mkdir(exist_ok=True)
    stack.save(root / name)
    return stack


@pytest.mark.parametrize("suffix", [".zip", ".ora", ".psd"])
def test_documents_become_records(suffix: str, tmp_path: Path) -> None:
    """Two records of one document: each layer over what lies below it gives the picture that the editor shows; the shade that multiplies
    is a layer like others, object and effects are one, with the object as mask; a caption is the prompt or the name."""
    stack = document(tmp_path / "input", f"scene{suffix}")
    rows = list(open_source("documents", tmp_path / "input").rows())
    assert [row.caption for row in rows] == ["a strip of shade", "a red disk"]
    given = ["background", "composite", "foreground"]
    assert [sorted(row.parts) for row in rows] == [given, [*given, "object_mask"]]
    dataset = open_dataset(built("documents", tmp_path / "input", tmp_path / "out", spec_of(loosen_box=0.0)), stage=1)
    flat = np.asarray(stack.flatten()).astype(int)
    pictures = {name: dataset.pictures(name, [0, 1]) for name in ("composite", "background")}
    assert np.abs(pictures["composite"][1].astype(int) - flat).max() <= 2
    assert np.abs(pictures["background"][1].astype(int) - pictures["composite"][0]).max() <= 2
    np.testing.assert_array_equal(pictures["background"][0], scenes(1)[0]["background"])
    assert Row.from_json(rows[1].to_json()) == rows[1]


def test_documents_that_cannot_be_used(tmp_path: Path) -> None:
    """A zip of something else, a document without layers, one whose background has a hole: a reject each, with its reason."""
    root = tmp_path / "input"
    document(root, "good.psd")
    (root / "other.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    LayerStack.new(scenes(1)[0]["background"]).save(root / "empty.ora")
    hole = LayerStack.new(np.dstack([scenes(1)[0]["background"], np.full((SIDE, SIDE), 90, np.uint8)]))
    hole.add(scenes(1)[0]["foreground"], name="a disk")
    hole.save(root / "hole.zip")
    output = built("documents", root, tmp_path / "out", spec_of(max_reject_rate=0.7))
    rejects = {line["id"]: line["detail"] for line in map(json.loads, (output / "rejects.jsonl").read_text().splitlines())}
    assert set(rejects) == {"empty", "other", "hole/layer-1"} and len(open_dataset(output)) == 2
    assert "no visible layer" in rejects["empty"] and "not a document" in rejects["other"] and "fill the canvas" in rejects["hole/layer-1"]
