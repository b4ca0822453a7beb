"""Every source in the layout its publishers ship: one fixture each, listed, read and built."""

import io
import json
import pickle
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bfs_model.document.layers import LayerStack
from bfs_model.errors import BadInput
from bfs_model.sampling.refit import least_alpha, solve_foreground
from bfs_platform.data.execute.build import build, check_licence, in_process
from bfs_platform.data.plan.plan import make_plan
from bfs_platform.data.record import Part
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.source.base import names, open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.data.spec import BackgroundSpec, CheckSpec, DataSpec

Layout = Callable[[Path, Path], Path]
PUBLISHED = {"source": "composite", "GT": "background", "mask": "object_mask", "effect": "effect_mask"}


def png(path: Path, size: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    image = Image.open(path)
    (image if size is None else image.resize(size)).save(out, "PNG")
    return out.getvalue()


def stems(rorem: Path) -> list[str]:
    return sorted(p.stem for p in (rorem / "source").iterdir())


def tar_parts(rorem: Path, root: Path) -> Path:
    """Two parts, one compressed: each with a folder of its own, all sources first, then masks, then backgrounds."""
    root.mkdir()
    entries = json.loads((rorem / "meta.json").read_text())
    for number, (mode, chosen) in enumerate((("w:gz", entries[:4]), ("w", entries[4:])), start=1):
        suffix = "tar.gz" if mode == "w:gz" else "tar"
        with tarfile.open(root / f"RORem_dataset.part{number}.{suffix}", mode) as archive:
            for role in ("source", "mask", "GT", "effect"):
                for entry in chosen:
                    archive.add(rorem / entry[role], f"set{number}/{entry[role]}")
            text = json.dumps(chosen).encode()
            info = tarfile.TarInfo(f"set{number}/meta.json")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return root


def triplet_folder(rorem: Path, root: Path) -> Path:
    for folder, name in (("source", "composite"), ("GT", "background"), ("mask", "mask"), ("effect", "effect")):
        (root / name / "sub").mkdir(parents=True)
        for stem in stems(rorem):
            (root / name / "sub" / f"{stem}.png").write_bytes((rorem / folder / f"{stem}.png").read_bytes())
    (root / "captions.json").write_text(json.dumps({f"sub/{stem}": "a disk" for stem in stems(rorem)}))
    return root


def write_parquet(root: Path, columns: dict[str, list[Any]], name: str = "train-00000-of-00001.parquet") -> Path:
    root.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), root / name, row_group_size=3)
    return root


def images(rorem: Path, folder: str, suffix: str = ".jpg") -> list[dict[str, Any]]:
    return [{"bytes": png(rorem / folder / f"{stem}.png"), "path": f"{stem}_1{suffix}"} for stem in stems(rorem)]


def triplet_parquet(rorem: Path, root: Path) -> Path:
    count = len(stems(rorem))
    pictures = {
        name: [i["bytes"] for i in images(rorem, folder)]
        for folder, name in (("source", "composite"), ("GT", "background"), ("mask", "mask"))
    }
    return write_parquet(root, pictures | {"caption": ["a disk"] * count})


def ober(rorem: Path, root: Path) -> Path:
    """Image structs; the last row belongs to the test split."""
    count = len(stems(rorem))
    folders = {"input": "source", "gt": "GT", "object_mask": "mask", "object_effect_mask": "effect"}
    columns: dict[str, list[Any]] = {column: images(rorem, folder) for column, folder in folders.items()}
    return write_parquet(root, columns | {"subset": ["camera"] * count, "split": ["train"] * (count - 1) + ["test"]})


def anyinsertion(rorem: Path, root: Path) -> Path:
    """Reference and target with masks; no clean background."""
    count = len(stems(rorem))
    columns: dict[str, list[Any]] = {"ref_image": images(rorem, "GT"), "ref_mask": images(rorem, "mask")}
    columns |= {"tar_image": images(rorem, "source"), "tar_mask": images(rorem, "mask"), "main_label": ["disk"] * count}
    return write_parquet(root, columns | {"id": [f"train/object/{s}" for s in stems(rorem)], "split": ["train"] * count})


def samfb(rorem: Path, root: Path) -> Path:
    """Pictures called NAME_K.jpg; the inpainted background is smaller than the rest; foregrounds are 224² on white."""
    folder = root / "sa_000020"
    for name in ("foreground", "background", "mask", "groundtruth", "prompt"):
        (folder / name).mkdir(parents=True)
    prompts = {}
    for stem in stems(rorem):
        key = f"{stem}_0.jpg"
        (folder / "groundtruth" / key).write_bytes(png(rorem / "source" / f"{stem}.png"))
        (folder / "mask" / key).write_bytes(png(rorem / "mask" / f"{stem}.png"))
        (folder / "background" / key).write_bytes(png(rorem / "GT" / f"{stem}.png", (26, 26)))
        (folder / "foreground" / key).write_bytes(png(rorem / "source" / f"{stem}.png", (224, 224)))
        prompts[key] = {"bbox": [1, 2, 3, 4], "point": [2, 3], "meta": {}}
    (folder / "prompt" / "prompt.json").write_text(json.dumps(prompts))
    return root


def desobav2(rorem: Path, root: Path) -> Path:
    for folder, name in (("source", "shadow_imgs"), ("source", "shadowfree_imgs"), ("mask", "object_masks"), ("effect", "shadow_masks")):
        (root / name).mkdir(parents=True)
        for stem in stems(rorem):
            (root / name / f"{stem}.jpg").write_bytes(png(rorem / folder / f"{stem}.png"))
    (root / "train.txt").write_text("\n".join(stems(rorem)) + "\n")
    return root


def mulan(rorem: Path, root: Path) -> Path:
    """Compressed pickles of arrays and Pillow images; the photographs in a folder of their own."""
    (root / "annotations").mkdir(parents=True)
    (root / "coco").mkdir()
    for stem in stems(rorem):
        mask = np.asarray(Image.open(rorem / "mask" / f"{stem}.png")) > 127
        clean = np.asarray(Image.open(rorem / "GT" / f"{stem}.png"))
        behind = {"original_image_mask": ~mask, "inpainted_delta": Image.fromarray(clean * mask[..., None]), "blip2": "a table"}
        alpha = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
        disk = {"original_image_mask": mask, "inpainted_delta": np.zeros_like(clean), "instance_alpha": alpha, "blip2": "a disk"}
        annotation = {"captioning": {}, "background": behind, "image": {"blip2": "a scene"}, "instances": {"instance_0": disk}}
        (root / "annotations" / f"{stem}.p.zl").write_bytes(zlib.compress(pickle.dumps(annotation)))
        (root / "coco" / f"{stem}.jpg").write_bytes(png(rorem / "source" / f"{stem}.png"))
    return root


def pipe(rorem: Path, root: Path) -> Path:
    """Pairs and masks in files of their own, the masks in another order; a test split that is not listed; one pair without mask."""
    names = stems(rorem)
    keys = {"target_img_dataset": ["COCO"] * 7, "img_id": list(range(100, 107)), "ann_id": [f"{i}" for i in range(7)]}
    pairs: dict[str, list[Any]] = {"source_img": images(rorem, "GT"), "target_img": images(rorem, "source")}
    pairs |= {"Instruction_VLM-LLM": ["Add a disk"] * 3 + [""] * 4, "Instruction_Class": ["add a disk."] * len(names)}
    (root / "PIPE").mkdir(parents=True)
    write_parquet(root / "PIPE", pairs | {"Instruction_Ref_Dataset": [None] * 7, "object_location": ["left"] * 7} | keys)
    write_parquet(root / "PIPE", pairs | keys, "test-00000-of-00001.parquet")
    backwards = {name: values[::-1] for name, values in (keys | {"mask": images(rorem, "mask")}).items()}
    write_parquet(root / "PIPE_Masks", backwards)
    return root


def cut_out(rorem: Path, stem: str) -> np.ndarray:
    """The layer that turns the background into the picture, wherever they differ: object and shadow."""
    composite, background = (np.asarray(Image.open(rorem / folder / f"{stem}.png")) for folder in ("source", "GT"))
    return solve_foreground(composite, background, least_alpha(composite, background))


def layered(rorem: Path, root: Path) -> Path:
    for folder, name in (("source", "composite"), ("GT", "background"), ("mask", "mask")):
        shutil.copytree(rorem / folder, root / name)
    (root / "foreground").mkdir()
    for stem in stems(rorem):
        Image.fromarray(cut_out(rorem, stem)).save(root / "foreground" / f"{stem}.png")
        (root / "composite" / f"{stem}.txt").write_text("a disk")
    return root


def layered_parquet(rorem: Path, root: Path) -> Path:
    place = layered(rorem, root / "folder")
    columns = {name: [(place / name / f"{s}.png").read_bytes() for s in stems(rorem)] for name in ("composite", "background", "mask")}
    columns["foreground"] = [(place / "foreground" / f"{s}.png").read_bytes() for s in stems(rorem)]
    shutil.rmtree(place)
    return write_parquet(root, columns | {"caption": ["a disk"] * len(stems(rorem))})


def layered_webdataset(rorem: Path, root: Path) -> Path:
    place = layered(rorem, root / "folder")
    with tarfile.open(root / "train-000.tar", "w") as archive:
        for stem in stems(rorem):
            for name in ("composite", "background", "mask", "foreground"):
                archive.add(place / name / f"{stem}.png", f"{stem}.{name}.png")
            archive.add(place / "composite" / f"{stem}.txt", f"{stem}.txt")
    shutil.rmtree(place)
    return root


def documents(rorem: Path, root: Path) -> Path:
    root.mkdir()
    for number, stem in enumerate(stems(rorem)):
        stack = LayerStack.new(Image.open(rorem / "GT" / f"{stem}.png"))
        stack.add(cut_out(rorem, stem), name="a disk")
        stack.save(root / f"{stem}{('.zip', '.ora', '.psd')[number % 3]}")
    return root


def as_drawn(rorem: Path, root: Path) -> Path:
    """RORem's own layout, which the tabletop world shares."""
    return Path(shutil.copytree(rorem, root))


LAYOUTS: dict[str, tuple[Layout, int]] = {
    "rorem": (as_drawn, 7),
    "tabletop": (as_drawn, 7),
    "rorem_tar": (tar_parts, 7),
    "triplets": (triplet_folder, 7),
    "triplets_parquet": (triplet_parquet, 7),
    "ober": (ober, 6),
    "anyinsertion": (anyinsertion, 7),
    "samfb": (samfb, 7),
    "desobav2": (desobav2, 7),
    "mulan": (mulan, 7),
    "pipe": (pipe, 7),
    "layered": (layered, 7),
    "layered_parquet": (layered_parquet, 7),
    "layered_webdataset": (layered_webdataset, 7),
    "documents": (documents, 7),
}
WITHOUT_BACKGROUND = ("anyinsertion", "desobav2")
# MuLAn takes the object out of the picture, not its shadow.
SHADOW_STAYS = ("mulan",)
COMMERCIAL = ("pipe", "tabletop")


def test_every_source_has_a_fixture() -> None:
    """A new source comes with a layout here."""
    assert set(names()) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_source_builds(name: str, rorem_seven: Path, tmp_path: Path) -> None:
    """Stage 2 from each layout: all training records, no reject, the composite that of the original picture."""
    layout, count = LAYOUTS[name]
    source = open_source(name, layout(rorem_seven, tmp_path / "input"))
    kind = "harmonic" if name in WITHOUT_BACKGROUND else "dataset"
    spec = DataSpec(stage=2, buckets=((32, 32),), records_per_shard=4, default_caption="an object", background=BackgroundSpec(kind=kind))
    spec = spec.model_copy(update={"encode": spec.encode.model_copy(update={"enabled": False})}).named("tabletop_data_stage2")
    build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))
    dataset = open_dataset(tmp_path / "out", stage=2)
    assert len(dataset) == count and dataset.body["rejects"] == {} and dataset.body["sources"][0]["name"] == name
    for number, stem in enumerate(stems(rorem_seven)[:count]):
        composite = dataset.pictures("composite", [number])[0]
        original = np.asarray(Image.open(rorem_seven / "source" / f"{stem}.png"))
        assert np.abs(composite.astype(int) - original).max() <= (1 if name == "documents" else 0)  # composed, not stored
        background = dataset.pictures("background", [number])[0]
        assert background is not None
        truth = np.asarray(Image.open(rorem_seven / "GT" / f"{stem}.png")).astype(int)
        assert np.abs(background - truth).mean() < (12 if name in (*WITHOUT_BACKGROUND, *SHADOW_STAYS) else 2)
    if name in COMMERCIAL:
        check_licence([source], commercial=True)
        return
    with pytest.raises(BadInput, match="does not allow commercial use"):
        check_licence([source], commercial=True)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("rorem_tar", "RORem_dataset.part1.tar.gz:set1/0000"),
        ("ober", "camera/0000_1#train-00000-of-00001.parquet:0"),
        ("samfb", "sa_000020/0000_0"),
    ],
)
def test_ids_are_those_of_the_publishers(name: str, ids: str, rorem_seven: Path, tmp_path: Path) -> None:
    """Ids lead back to the published files and are unique over all of them."""
    rows = list(open_source(name, LAYOUTS[name][0](rorem_seven, tmp_path / "input")).rows())
    assert rows[0].id == ids and len({row.id for row in rows}) == len(rows)


def test_without_provider_a_source_without_background_is_all_rejects(rorem_seven: Path, tmp_path: Path) -> None:
    """Nothing is invented silently: the rejects say what is missing and how to get it."""
    source = open_source("anyinsertion", anyinsertion(rorem_seven, tmp_path / "input"))
    spec = DataSpec(stage=1, buckets=((32, 32),), checks=CheckSpec()).named("tabletop_data_stage1")
    spec = spec.model_copy(update={"encode": spec.encode.model_copy(update={"enabled": False})})
    with pytest.raises(RuntimeError, match=r"7 of 7 records were rejected \(no_background 7\)"):
        build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))


def test_a_tar_of_one_file_and_a_missing_member(rorem_seven: Path, tmp_path: Path) -> None:
    """A single archive is a source too; an entry whose picture is not in it is one faulty row."""
    root = tmp_path / "x.tar"
    entries = json.loads((rorem_seven / "meta.json").read_text())[:2]
    with tarfile.open(root, "w") as archive:
        archive.add(rorem_seven / "meta.json", "meta.json")
        for role in PUBLISHED:
            archive.add(rorem_seven / entries[0][role], entries[0][role])
    rows = list(open_source("rorem_tar", root).rows())
    assert [row.problem is None for row in rows] == [True] + [False] * 6
    assert "does not hold source/0001.png" in str(rows[1].problem)


def test_a_damaged_archive_is_bad_input(rorem_seven: Path, tmp_path: Path) -> None:
    """A part that was cut off in the download is named before anything is built."""
    root = tar_parts(rorem_seven, tmp_path / "input")
    part = root / "RORem_dataset.part1.tar.gz"
    part.write_bytes(part.read_bytes()[:-400])
    with pytest.raises(BadInput, match="part1.tar.gz is damaged or cut off"):
        list(open_source("rorem_tar", root).rows())


def test_a_damaged_cell_is_one_reject(rorem_seven: Path, tmp_path: Path) -> None:
    """A null picture in a Parquet row costs that record only."""
    count = 7
    pictures = {
        n: [i["bytes"] for i in images(rorem_seven, f)] for f, n in (("source", "composite"), ("GT", "background"), ("mask", "mask"))
    }
    pictures["mask"][2] = None
    source = open_source("triplets_parquet", write_parquet(tmp_path / "input", pictures | {"caption": ["x"] * count}))
    spec = DataSpec(stage=1, buckets=((32, 32),), max_reject_rate=0.5).named("tabletop_data_stage1")
    spec = spec.model_copy(update={"encode": spec.encode.model_copy(update={"enabled": False})})
    build(source, tmp_path / "out", spec, stream=in_process(source, spec, tmp_path / "out"))
    assert open_dataset(tmp_path / "out").body["rejects"] == {"missing": 1}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_an_empty_folder_is_bad_input(name: str, tmp_path: Path) -> None:
    """Each source says what it looked for."""
    with pytest.raises(BadInput, match="input="):
        list(open_source(name, tmp_path).rows())


def test_mulan_takes_a_stack_apart(rorem_seven: Path, tmp_path: Path) -> None:
    """Two instances: the front one's background shows the one behind, which was painted where it was hidden; captions are theirs."""
    root = mulan(rorem_seven, tmp_path / "input")
    path = root / "annotations" / "0000.p.zl"
    annotation = pickle.loads(zlib.decompress(path.read_bytes()))
    hidden = np.zeros((32, 32), bool)
    hidden[4:28, 4:28] = True
    back = {"original_image_mask": np.zeros((32, 32), np.uint8), "inpainted_delta": np.full((32, 32, 3), 33, np.uint8)}
    back |= {"instance_alpha": hidden.astype(np.float32), "captioning": {"llava": "a grey square"}}
    annotation["instances"] = {"a": back, **annotation["instances"]}
    path.write_bytes(zlib.compress(pickle.dumps(annotation, protocol=2)))
    source = open_source("mulan", root)
    rows = [row for row in source.rows() if row.id.startswith("0000/")]
    assert [(row.id, row.caption) for row in rows] == [("0000/0", "a grey square"), ("0000/1", "a disk")]
    read = [{role: np.asarray(Image.open(io.BytesIO(read_part(root, part)))) for role, part in row.parts.items()} for row in rows]
    np.testing.assert_array_equal(read[1]["background"], read[0]["composite"])
    assert (read[0]["composite"][hidden] == 33).all() and (read[0]["object_mask"] == hidden * 255).all()
    assert read[1]["foreground"].shape == (32, 32, 4)


def test_mulan_sets_bad_annotations_aside(rorem_seven: Path, tmp_path: Path) -> None:
    """An annotation that would run code, one that is cut off, and one whose picture was not fetched: rows with a problem each."""
    root = mulan(rorem_seven, tmp_path / "input")

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "run",)

    (root / "annotations" / "0001.p.zl").write_bytes(zlib.compress(pickle.dumps({"instances": Evil()})))
    cut = root / "annotations" / "0002.p.zl"
    cut.write_bytes(cut.read_bytes()[:-30])
    (root / "coco" / "0003.jpg").unlink()
    problems = {row.id: row.problem for row in open_source("mulan", root).rows() if row.problem}
    assert set(problems) == {"0001", "0002", "0003"} and not (tmp_path / "run").exists()
    assert "no data" in str(problems["0001"]) and "cut off" in str(problems["0002"]) and "0003.jpg" in str(problems["0003"])


def test_mulan_is_known_by_its_photographs_too(rorem_seven: Path, tmp_path: Path) -> None:
    """A photograph that was replaced makes another unit, as an annotation does; nothing of other sources is asked twice."""
    source = open_source("mulan", mulan(rorem_seven, tmp_path / "input"))
    spec = DataSpec(stage=1, buckets=((32, 32),), records_per_shard=3)
    before = make_plan(source, spec, None)
    photograph = tmp_path / "input" / "coco" / "0004.jpg"
    photograph.write_bytes(png(rorem_seven / "GT" / "0004.png"))
    after = make_plan(source, spec, None)
    assert [one.key == two.key for one, two in zip(before.units, after.units, strict=True)] == [True, False, True]
    assert before.identity != after.identity and Part("x.tar", container="tar", column="a b").files == ("x.tar",)


def test_pipe_joins_masks_by_their_keys(rorem_seven: Path, tmp_path: Path) -> None:
    """The mask of the same picture and annotation, whatever its row; a pair without one has a problem; commands become captions."""
    root = pipe(rorem_seven, tmp_path / "input")
    rows = list(open_source("pipe", root).rows())
    assert [row.id for row in rows] == [f"COCO/{100 + i}/{i}#PIPE/train-00000-of-00001.parquet:{i}" for i in range(7)] and {
        row.caption for row in rows
    } == {"a disk"}
    assert read_part(root, rows[2].parts["object_mask"]) == png(rorem_seven / "mask" / "0002.png")
    table = pq.read_table(root / "PIPE_Masks" / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(1), root / "PIPE_Masks" / "train-00000-of-00001.parquet")
    assert [row.problem is None for row in open_source("pipe", root).rows()] == [True] * 6 + [False]
    (root / "PIPE_Masks" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(BadInput, match="no masks"):
        list(open_source("pipe", root).rows())
