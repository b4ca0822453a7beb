"""Names: what a file system leaves beside pictures is no record, one name has two Unicode forms, and ids are unique."""

import io
import json
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bfs_model.errors import BadInput
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.shard.show import as_text, describe
from bfs_platform.data.source.base import open_source
from bfs_platform.data.source.files import Debris, is_debris
from bfs_platform.data.spec import DataSpec
from bfs_platform.storage.path import RemotePath

NFC = "café"
NFD = unicodedata.normalize("NFD", NFC)
APPLE = b"\0\5\x16\7" + bytes(78)
COLUMNS = {"input": "source", "gt": "GT", "object_mask": "mask", "object_effect_mask": "effect"}


def triplets(rorem: Path, root: Path) -> Path:
    for folder, name in (("source", "composite"), ("GT", "background"), ("mask", "mask")):
        (root / name).mkdir(parents=True)
        for path in (rorem / folder).iterdir():
            (root / name / path.name).write_bytes(path.read_bytes())
    (root / "captions.json").write_text(json.dumps({path.stem: "a disk" for path in (rorem / "source").iterdir()}))
    return root


def littered(root: Path) -> int:
    """Leave what macOS, Windows and others leave, beside every file; returns how many files that were."""
    files = [path for path in root.rglob("*") if path.is_file()]
    folders = {path.parent for path in files}
    for path in files:
        (path.parent / f"._{path.name}").write_bytes(APPLE)
    for folder in folders:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"x")
        for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints"):
            (folder / name).mkdir()
            (folder / name / files[0].name).write_bytes(APPLE)
    return len(files) + 6 * len(folders)


def built(name: str, root: Any, output: Path, spec: DataSpec) -> dict[str, Any]:
    source = open_source(name, root)
    build(source, output, spec, stream=in_process(source, spec, output))
    return json.loads((output / "manifest.json").read_text())


def image_columns(rorem: Path, path: str = "image.png") -> dict[str, list[Any]]:
    """OBER's columns of pictures, of which all have one name inside."""
    names = sorted(p.name for p in (rorem / "source").iterdir())
    return {c: [{"bytes": (rorem / folder / name).read_bytes(), "path": path} for name in names] for c, folder in COLUMNS.items()}


@pytest.mark.parametrize(
    "path",
    [
        "._a.png",
        "a/.DS_Store",
        "Thumbs.db",
        "a/THUMBS.DB",
        "desktop.ini",
        "__MACOSX/a/b.png",
        "a/__MACOSX/._b.png",
        "a/@eaDir/b.png",
        ".ipynb_checkpoints/a.png",
        "$RECYCLE.BIN/a.png",
        "composite_$folder$",
        "Icon\r",
        "./._a.png",
        "System Volume Information/x",
    ],
)
def test_what_is_debris(path: str) -> None:
    """Hidden files and folders, and those of file systems, at any depth."""
    assert is_debris(path)


@pytest.mark.parametrize("path", ["a.png", "./a.png", "../a.png", "a..b/c.png", "thumbs.png", "a._b.png", "my.DS_Store.png", ""])
def test_what_is_not(path: str) -> None:
    """Names that only look like it."""
    assert not is_debris(path)


def test_a_littered_triplet_folder(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """The same set as without; how much was passed over stands in the manifest, in what `show` prints, and on stderr."""
    root = triplets(rorem_seven, tmp_path / "input")
    plain = built("triplets", root, tmp_path / "plain", pixel_spec)
    num = littered(root) - 4  # what lies in the root itself beside captions.json is not walked through
    manifest = built("triplets", root, tmp_path / "out", pixel_spec)
    assert manifest["body"]["rejects"] == {} and manifest["body"]["num_records"] == 7
    assert manifest["content_hash"] == plain["content_hash"]
    assert manifest["notes"]["skipped_files"] == num - 3 and plain["notes"]["skipped_files"] == 0
    assert f"{num - 3} hidden files" in as_text(describe(tmp_path / "out")) and "passed over" in capsys.readouterr().err


def test_debris_in_a_list_of_records(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A meta.json that was written from what the folders hold: in a folder and in an archive that macOS has packed."""
    root = rorem(3)
    entries = json.loads((root / "meta.json").read_text())
    ghosts = [{"source": f"source/._{i:04d}.png", "GT": f"GT/._{i:04d}.png"} for i in range(3)]
    (root / "meta.json").write_text(json.dumps([*ghosts, *entries]))
    littered(root)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "set")
        for name in ("__MACOSX/set/._meta.json", "__MACOSX/set/meta.json", "._set"):
            info = tarfile.TarInfo(name)
            info.size = len(APPLE)
            archive.addfile(info, io.BytesIO(APPLE))
    manifest = built("rorem", root, tmp_path / "folder", pixel_spec)
    assert (manifest["body"]["num_records"], manifest["body"]["rejects"], manifest["notes"]["skipped_files"]) == (3, {}, 3)
    manifest = built("rorem_tar", tmp_path / "set.tar", tmp_path / "archive", pixel_spec)
    assert (manifest["body"]["num_records"], manifest["body"]["rejects"]) == (3, {})
    assert manifest["notes"]["skipped_files"] > 20


@pytest.mark.parametrize("name", ["ober", "anyinsertion", "triplets_parquet", "pipe", "mulan", "rorem_tar"])
def test_debris_beside_containers(name: str, tmp_path: Path) -> None:
    """Resource files named like Parquet files, annotations and archives are passed over, not opened."""
    for hidden in ("._a.parquet", ".hidden/a.parquet", "._a.p.zl", "._a.tar", "__MACOSX/b.tar"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(APPLE)
    pq.write_table(pa.table({"composite": [b"x"], "mask": [b"y"], "input": [b"z"], "split": ["train"]}), tmp_path / "A.PARQUET")
    listed = open_source(name, tmp_path).listed()
    if name in ("mulan", "rorem_tar", "pipe"):  # there is nothing else: which is said of the folder, not of a file
        with pytest.raises(BadInput, match="holds no"):
            list(listed)
    else:
        assert sum(isinstance(item, Debris) for item in listed) == 5


def test_debris_on_an_object_store(
    rorem_seven: Path, bucket: RemotePath, upload: Callable[..., RemotePath], tmp_path: Path, pixel_spec: DataSpec
) -> None:
    """With the empty objects by which tools mark folders: the same set as on disk."""
    root = triplets(rorem_seven, tmp_path / "input")
    littered(root)
    place = upload(root, bucket / "input")
    (place / "composite_$folder$").write_bytes(b"")
    manifest = built("triplets", place, tmp_path / "out", pixel_spec)
    assert manifest["body"]["num_records"] == 7 and manifest["body"]["rejects"] == {}
    assert manifest["notes"]["skipped_files"] == built("triplets", root, tmp_path / "near", pixel_spec)["notes"]["skipped_files"]


class TestUnicode:
    """macOS writes names decomposed, most programs composed."""

    @pytest.mark.parametrize(("listed", "stored"), [(NFC, NFD), (NFD, NFC)])
    def test_triplets(self, rorem: Callable[..., Path], tmp_path: Path, listed: str, stored: str) -> None:
        """Composite in one form, mask and captions in the other."""
        root = triplets(rorem(1), tmp_path / "set")
        for folder, name in (("composite", listed), ("background", stored), ("mask", stored)):
            (root / folder / "0000.png").rename(root / folder / f"{name}.png")
        (root / "captions.json").write_text(json.dumps({stored: "a cup"}))
        (row,) = open_source("triplets", root).rows()
        assert set(row.parts) == {"composite", "background", "object_mask"} and row.caption == "a cup" and row.id == NFC

    @pytest.mark.parametrize(("listed", "stored"), [(NFC, NFD), (NFD, NFC)])
    def test_lists(self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, listed: str, stored: str) -> None:
        """meta.json in one form, files and folders in the other, on disk and in an archive; a name that is nowhere is missed."""
        root = rorem(2)
        entries = json.loads((root / "meta.json").read_text())
        for folder in ("source", "mask", "GT", "effect"):
            (root / folder / stored).mkdir()
            (root / folder / "0000.png").rename(root / folder / stored / f"{stored}.png")
            entries[0][folder] = f"{folder}/{listed}/{listed}.png"
        entries.append({"source": "source/né.png", "mask": "mask/né.png", "GT": "GT/né.png", "caption": "x"})
        (root / "meta.json").write_text(json.dumps(entries, ensure_ascii=False))
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            archive.add(root, "")
        for name, place in (("rorem", root), ("rorem_tar", tmp_path / "set.tar")):
            manifest = built(name, place, tmp_path / name, pixel_spec)
            assert manifest["body"]["num_records"] == 2 and sum(manifest["body"]["rejects"].values()) == 1

    def test_on_an_object_store(
        self, rorem: Callable[..., Path], bucket: RemotePath, upload: Callable[..., RemotePath], pixel_spec: DataSpec, tmp_path: Path
    ) -> None:
        """Keys are bytes: nobody composes them."""
        root = rorem(1)
        entries = json.loads((root / "meta.json").read_text())
        for folder in ("source", "mask", "GT", "effect"):
            (root / folder / "0000.png").rename(root / folder / f"{NFD}.png")
            entries[0][folder] = f"{folder}/{NFC}.png"
        (root / "meta.json").write_text(json.dumps(entries))
        assert built("rorem", upload(root, bucket / "unicode"), tmp_path / "out", pixel_spec)["body"]["num_records"] == 1


class TestIds:
    """An id names one record, whatever the data call it."""

    def test_pictures_of_one_name(self, rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
        """Hub libraries write `image.png` into every cell: all records are built, with a caption by the name of their row."""
        columns = image_columns(rorem_seven) | {"subset": ["camera"] * 7, "split": ["train"] * 7}
        (tmp_path / "input").mkdir()
        for file in ("a", "b"):
            pq.write_table(pa.table(columns), tmp_path / "input" / f"{file}.parquet", row_group_size=3)
        spec = pixel_spec.model_copy(update={"default_caption": "a disk"})
        manifest = built("ober", tmp_path / "input", tmp_path / "out", spec)
        assert manifest["body"]["num_records"] == 14 and manifest["body"]["rejects"] == {}
        ids = open_dataset(tmp_path / "out").take(range(14), ["id"])["id"]
        assert ids[0] == "camera/image#a.parquet:0" and ids[13] == "camera/image#b.parquet:6" and len(set(ids)) == 14

    @pytest.mark.parametrize("name", ["anyinsertion", "triplets_parquet", "pipe"])
    def test_ids_of_the_data(self, rorem_seven: Path, tmp_path: Path, name: str) -> None:
        """A column of ids that repeats itself, or has none."""
        pictures = image_columns(rorem_seven)
        columns: dict[str, list[Any]] = {
            "composite": pictures["input"],
            "mask": pictures["object_mask"],
            "id": ["a", "a", None, "", "b", "a", "b"],
        }
        columns |= {"target_img": pictures["input"], "source_img": pictures["gt"]}
        columns |= {key: [1] * 7 for key in ("target_img_dataset", "img_id", "ann_id")}
        pq.write_table(pa.table(columns), tmp_path / "train.parquet")
        pq.write_table(pa.table({key: columns[key] for key in ("mask", "target_img_dataset", "img_id", "ann_id")}), tmp_path / "z.parquet")
        (tmp_path / ("z.parquet" if name != "pipe" else "none")).unlink(missing_ok=True)
        ids = [row.id for row in open_source(name, tmp_path).rows()]
        assert len(ids) == len(set(ids)) == 7

    def test_two_objects_of_one_picture(self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
        """RORem's list may name one source with several masks: each is a record; the first keeps the plain id."""
        root = rorem(3)
        entries = json.loads((root / "meta.json").read_text())
        for entry in entries:
            entry["source"], entry["GT"] = entries[0]["source"], entries[0]["GT"]
        (root / "meta.json").write_text(json.dumps([*entries, {**entries[0], "source": "source/0000#1.png"}]))
        (root / "source" / "0000#1.png").write_bytes((root / "source" / "0000.png").read_bytes())
        manifest = built(
            "rorem",
            root,
            tmp_path / "out",
            pixel_spec.model_copy(update={"checks": pixel_spec.checks.model_copy(update={"min_difference": 0.0})}),
        )
        assert manifest["body"]["num_records"] == 4 and manifest["body"]["rejects"] == {}
        assert open_dataset(tmp_path / "out").take(range(4), ["id"])["id"] == ["0000", "0000#1", "0000#2", "0000#1#3"]

    def test_triplets_of_one_stem(self, rorem: Callable[..., Path], tmp_path: Path) -> None:
        """Two composites whose names differ in the suffix are two records; two masks for one are said to be ambiguous."""
        root = triplets(rorem(2), tmp_path / "set")
        data = (root / "composite" / "0000.png").read_bytes()
        (root / "composite" / "0000.JPG").write_bytes(data)
        (root / "mask" / "0000.jpg").write_bytes(data)
        (root / "mask" / "0001.jpg").write_bytes(data)
        (root / "mask" / "0001.webp").write_bytes(data)
        (root / "mask" / "0001.png").unlink()
        jpg, png, unclear = open_source("triplets", root).rows()
        assert (jpg.id, jpg.parts["object_mask"].path) == ("0000.JPG", "mask/0000.jpg")
        assert (png.id, png.parts["object_mask"].path) == ("0000.png", "mask/0000.png")
        assert unclear.id == "0001" and str(unclear.problem) == "mask/0001.jpg and mask/0001.webp are both its object_mask"


def test_other_formats_are_rejects_not_nothing(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A TIFF is read, whatever the case of its suffix; a bitmap is set aside with its reason."""
    from PIL import Image

    root = triplets(rorem(4), tmp_path / "set")
    Image.open(root / "composite" / "0001.png").save(root / "composite" / "0001.TIF", "TIFF")
    Image.open(root / "composite" / "0002.png").save(root / "composite" / "0002.bmp")
    for stem in ("0001", "0002"):
        (root / "composite" / f"{stem}.png").unlink()
    manifest = built("triplets", root, tmp_path / "out", pixel_spec)
    assert manifest["body"]["num_records"] == 3 and manifest["body"]["rejects"] == {"unreadable": 1}
    assert "is not a PNG, JPEG, WebP or TIFF" in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_links(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A linked folder inside the source is part of it, once; a link to itself ends; one to nothing is a picture that is missing."""
    root = triplets(rorem(3), tmp_path / "set")
    for folder in ("composite", "background", "mask"):
        (root / "pool" / folder).mkdir(parents=True)
        (root / folder / "0000.png").rename(root / "pool" / folder / "0000.png")
        (root / folder / "linked").symlink_to(root / "pool" / folder)
        (root / folder / "loop").symlink_to(root / folder)
    (root / "mask" / "0001.png").unlink()
    (root / "mask" / "0001.png").symlink_to(root / "nothing.png")
    spec = pixel_spec.model_copy(update={"default_caption": "a disk"})
    manifest = built("triplets", root, tmp_path / "out", spec)
    assert manifest["body"]["num_records"] == 2 and manifest["body"]["rejects"] == {"missing": 1}


def test_mulan_of_two_collections(rorem_seven: Path, tmp_path: Path) -> None:
    """COCO and LAION number their pictures alike: each annotation takes the picture beside it, or none where that is not clear."""
    from bfs_platform.data.source.mulan import _picture_of, _pictures

    for path in ("coco/7.jpg", "laion/7.png", "coco/8.jpg", f"{NFD}.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    pictures = _pictures(tmp_path)
    assert _picture_of("coco/7.p.zl", pictures)[0] == "coco/7.jpg" and _picture_of("laion/7.p.zl", pictures)[0] == "laion/7.png"
    assert _picture_of("annotations/8.p.zl", pictures)[0] == "coco/8.jpg" and _picture_of(f"{NFC}.p.zl", pictures)[0] == f"{NFD}.jpg"
    unclear, why = _picture_of("annotations/7.p.zl", pictures)
    assert unclear is None and "2 pictures are called as annotations/7.p.zl" in why
