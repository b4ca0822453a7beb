"""Whole builds in one process: identity, resuming, rejects, and what is refused before any work."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_model.tiny.flux_fill import random_flux_fill
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.execute.encode import check_sides
from bfs_platform.data.execute.finish import BuildFailed
from bfs_platform.data.plan.unit import Receipt, Unit
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.data.shard.show import as_text, describe
from bfs_platform.data.shard.workspace import Workspace
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import CheckSpec, CropsSpec, DataSpec, EncodeSpec, ShadowSpec


def run(root: Path, output: Path, spec: DataSpec, base: str = "", stream: Callable[[list[Unit]], Iterable[Receipt]] | None = None) -> str:
    """Build in this process and return the content hash."""
    source = open_source("rorem", root)
    manifest = build(source, output, spec, base=base, stream=stream or in_process(source, spec, output, base))
    return str(json.loads(manifest.read_text())["content_hash"])


def test_a_build_is_complete_and_whole(rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec, bundle_path: Path) -> None:
    """Seven records in three shards, every file listed and right, the recipe in the manifest loads as a recipe again."""
    from bfs_platform.config import load

    run(rorem_seven, tmp_path / "out", encoded_spec, str(bundle_path))
    manifest = integrity.verify(tmp_path / "out", "dataset")
    body = manifest["body"]
    assert (body["stage"], body["num_records"], body["encoded"], body["rejects"]) == (1, 7, True, {})
    assert [shard["num_records"] for shard in body["shards"]] == [3, 3, 1]
    assert body["base"]["name"] == "tiny-random" and body["sources"][0]["licence"] == "research-only"
    assert load(tmp_path / "out" / "manifest.json") == encoded_spec
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"], "nothing is left beside the result"


def test_every_shard_recomposes_exactly(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Ĉ = F̂ over B to the last level in what was written and read again."""
    run(rorem_seven, tmp_path / "out", pixel_spec)
    dataset = open_dataset(tmp_path / "out", stage=1)
    for index in range(len(dataset)):
        layer, background, composite = (dataset.pictures(name, [index])[0] for name in ("foreground", "background", "composite"))
        assert layer is not None and background is not None
        np.testing.assert_array_equal(composite_u8(layer, background), composite)


def test_same_input_same_hash_elsewhere_and_in_any_order(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """The content hash depends neither on where input and output lie nor on the order in which shards are made; it does on the seed."""
    first = run(rorem(7), tmp_path / "a", pixel_spec)
    elsewhere, output = rorem(7, name="moved/input"), tmp_path / "b"
    straight = in_process(open_source("rorem", elsewhere), pixel_spec, output)
    assert run(elsewhere, output, pixel_spec, stream=lambda units: straight(units[::-1])) == first
    assert run(elsewhere, tmp_path / "c", pixel_spec.model_copy(update={"seed": 8})) != first


def test_a_killed_build_goes_on_where_it_stopped(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """After a crash with one shard done, only the others are made, and the result is that of an undisturbed build."""
    undisturbed = run(rorem_seven, tmp_path / "whole", pixel_spec)
    output = tmp_path / "out"
    plain = in_process(open_source("rorem", rorem_seven), pixel_spec, output)

    def crashing(units: Sequence[Unit]) -> Iterable[Receipt]:
        yield from plain(units[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(rorem_seven, output, pixel_spec, stream=crashing)
    assert not output.exists(), "nothing that a reader could take for a dataset"
    made: list[int] = []

    def counting(units: Sequence[Unit]) -> Iterable[Receipt]:
        made.extend(unit.shard for unit in units)
        return plain(units)

    assert run(rorem_seven, output, pixel_spec, stream=counting) == undisturbed
    assert made == [1, 2]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "receipt"])
def test_resuming_trusts_only_whole_shards(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec, damage: str) -> None:
    """A collected shard that was damaged, or has no readable receipt, is made again."""
    undisturbed = run(rorem_seven, tmp_path / "whole", pixel_spec)
    output = tmp_path / "out"
    workspace = Workspace(output)
    plain = in_process(open_source("rorem", rorem_seven), pixel_spec, output)

    def stops_early(units: Sequence[Unit]) -> Iterable[Receipt]:
        return list(plain(units))[:2]

    with pytest.raises(BuildFailed, match="1 of 3 shards were not built"):
        run(rorem_seven, output, pixel_spec, stream=stops_early)
    part = workspace.part(1)
    data = bytearray(part.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif damage == "truncate":
        part.write_bytes(data[:-5])
    elif damage == "remove":
        part.unlink()
    else:
        (workspace.receipts / "00001.json").write_text("{")
    made: list[int] = []

    def counting(units: Sequence[Unit]) -> Iterable[Receipt]:
        made.extend(unit.shard for unit in units)
        return plain(units)

    assert run(rorem_seven, output, pixel_spec, stream=counting) == undisturbed
    assert made == [1]


def test_a_mended_source_or_another_recipe_is_not_resumed(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Only the shard of a file that changed is made again; a recipe that changes bytes makes all of them again."""
    root, output = rorem(7), tmp_path / "out"
    plain = in_process(open_source("rorem", root), pixel_spec, output)
    with pytest.raises(BuildFailed):
        run(root, output, pixel_spec, stream=lambda units: list(plain(units))[:-1])
    picture = root / "source" / "0004.png"
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    made: list[int] = []

    def failing(units: Sequence[Unit]) -> Iterable[Receipt]:
        made.append(len(units))
        made.extend(unit.shard for unit in units)
        return []

    with pytest.raises(BuildFailed):
        run(root, output, pixel_spec, stream=failing)
    with pytest.raises(BuildFailed):
        run(root, output, pixel_spec.model_copy(update={"loosen_box": 0.2}), stream=failing)
    assert made == [1, 1, 3, 0, 1, 2]


def test_bad_records_are_counted_and_named(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Two bad records of seven: the others are there, the manifest counts, rejects.jsonl names id and cause."""
    root = rorem(7)
    (root / "mask" / "0001.png").unlink()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "mask" / "0005.png")
    run(root, tmp_path / "out", pixel_spec)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.take(range(len(dataset)), ["id"])["id"] == ["0000", "0002", "0003", "0004", "0006"]
    assert dataset.body["rejects"] == {"empty_mask": 1, "missing": 1}
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(r["id"], r["reason"]) for r in rejects] == [("0001", "missing"), ("0005", "empty_mask")]
    assert "mask/0001.png" in rejects[0]["detail"]


def test_a_shard_of_rejects_leaves_no_empty_file(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """When a whole shard is rejected, the dataset simply has one shard less."""
    root = rorem(7)
    for index in range(3):
        (root / "GT" / f"{index:04d}.png").write_bytes(b"")
    run(root, tmp_path / "out", pixel_spec)
    paths = [shard["path"] for shard in open_dataset(tmp_path / "out").body["shards"]]
    assert paths == ["shards/part-00001.parquet", "shards/part-00002.parquet"]


@pytest.mark.parametrize(("allowed", "num_bad"), [(0.2, 2), (1.0, 7)])
def test_too_many_rejects_fail_loudly(
    rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, allowed: float, num_bad: int
) -> None:
    """Above the stated rate, or when nothing is left, the build fails with the counts and commits nothing."""
    root = rorem(7)
    for index in range(num_bad):
        (root / "GT" / f"{index:04d}.png").unlink()
    spec = pixel_spec.model_copy(update={"max_reject_rate": allowed})
    with pytest.raises(BuildFailed, match=rf"{num_bad} of 7 records were rejected \(missing {num_bad}\)") as caught:
        run(root, tmp_path / "out", spec)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.building" / "rejects.jsonl").exists() and ".out.building" in str(caught.value)
    # A greater tolerance takes up the collected work.
    if num_bad == 2:
        run(root, tmp_path / "out", pixel_spec)
        assert len(open_dataset(tmp_path / "out")) == 5


def test_near_copies_are_dropped(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """The same picture under another name, re-encoded, is a duplicate of the first, also across shards; another object in it is not."""
    root = rorem(5)
    entries = json.loads((root / "meta.json").read_text())
    for name, original in (("copy", "0001"), ("other", "0001")):
        for folder in ("source", "mask", "GT"):
            image = Image.open(root / folder / f"{original}.png")
            image.save(root / folder / f"{name}.png", compress_level=0)
        entries.append({k: f"{k}/{name}.png" for k in ("source", "mask", "GT")} | {"caption": "again"})
    mask = np.zeros((32, 32), np.uint8)
    inside = np.asarray(Image.open(root / "mask" / "0001.png")) > 0
    mask[inside & (np.cumsum(inside.any(axis=1))[:, None] < 7)] = 255
    Image.fromarray(mask).save(root / "mask" / "other.png")
    (root / "meta.json").write_text(json.dumps(entries))
    run(root, tmp_path / "out", pixel_spec.model_copy(update={"checks": CheckSpec(duplicate_bits=3)}))
    dataset = open_dataset(tmp_path / "out")
    assert dataset.take(range(len(dataset)), ["id"])["id"] == ["0000", "0001", "0002", "0003", "0004", "other"]
    assert dataset.body["rejects"] == {"duplicate": 1}
    assert "shows the same as 0001" in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_an_id_used_twice_is_a_reject(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Ids name records: the second one is set aside under a name of its own."""
    root = rorem(3)
    entries = json.loads((root / "meta.json").read_text())
    (root / "meta.json").write_text(json.dumps([*entries, entries[0]]))
    run(root, tmp_path / "out", pixel_spec)
    assert '"id": "0000#3"' in (tmp_path / "out" / "rejects.jsonl").read_text()


def test_a_finished_build_is_not_made_again(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Asking for what is there costs nothing; a damaged or different one is built anew."""
    output = tmp_path / "out"
    first = run(rorem_seven, output, pixel_spec)

    def must_not_run(units: Sequence[Unit]) -> Iterable[Receipt]:
        raise AssertionError("built again")

    assert run(rorem_seven, output, pixel_spec, stream=must_not_run) == first
    shard = output / "shards" / "part-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"X")
    assert run(rorem_seven, output, pixel_spec) == first
    integrity.verify(output)


def test_two_builds_of_one_output_do_not_mix(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """While one build holds the output, another is refused."""
    with Workspace(tmp_path / "out").locked(), pytest.raises(BadInput, match="is being built by another process"):
        run(rorem_seven, tmp_path / "out", pixel_spec)


def test_foreign_output_is_refused_before_any_work(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A directory with somebody's files is never replaced."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="was not written by BFS"):
        run(rorem_seven, tmp_path / "out", pixel_spec)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize(
    ("place", "rule"),
    [("input", "is the input"), ("input/set", "lies in the input"), (".", "holds the input"), ("link/set", "lies in the input")],
)
def test_the_input_is_never_replaced(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, place: str, rule: str) -> None:
    """An output that is the input, lies in it or holds it is refused before any work, whatever manifests are there."""
    root = rorem(2)
    integrity.write_manifest(root, "source", {"licence": "CC0-1.0"})
    integrity.write_manifest(tmp_path, "dataset", {})
    (tmp_path / "link").symlink_to(root)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=rule):
        run(root, tmp_path / place, pixel_spec)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_committed_directory_of_another_kind_is_never_replaced(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A model, and whatever has a manifest that cannot be read, stays; a dataset with a damaged manifest is built anew."""
    model, torn, damaged = (tmp_path / name for name in ("model", "torn", "damaged"))
    for output in (model, torn, damaged):
        output.mkdir()
        (output / "weights.bin").write_bytes(b"weeks of work")
    integrity.write_manifest(model, "model", {})
    (torn / "manifest.json").write_text('{"kind": "mod')
    (damaged / "manifest.json").write_text('{"kind": "dataset"}')
    for output, rule in ((model, "is a model, not a dataset"), (torn, "unreadable manifest.json")):
        with pytest.raises(BadInput, match=rule):
            run(rorem_seven, output, pixel_spec)
        assert (output / "weights.bin").read_bytes() == b"weeks of work"
    run(rorem_seven, damaged, pixel_spec)
    assert len(open_dataset(damaged)) == 7 and sorted(p.name for p in tmp_path.iterdir()) == ["damaged", "model", "torn"]


def test_sides_must_suit_the_base(rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec, bundle_path: Path) -> None:
    """A side that the base's latents cannot be packed in is refused before any work; without encoding it is fine."""
    base = Path(shutil.copytree(bundle_path, tmp_path / "base"))
    config = json.loads((base / "vae" / "config.json").read_text())
    (base / "vae" / "config.json").write_text(json.dumps(config | {"block_out_channels": [8, 8, 8, 8]}))
    integrity.write_manifest(base, "bundle", {})
    spec = encoded_spec.model_copy(update={"buckets": ((32, 32), (32, 40))})
    with pytest.raises(BadInput, match="buckets=32x40 has a side that is not a multiple of 16"):
        run(rorem_seven, tmp_path / "out", spec, base=str(base))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]
    check_sides(((32, 48),), str(base))
    check_sides(spec.buckets, str(bundle_path))
    run(rorem_seven, tmp_path / "out", spec.model_copy(update={"encode": EncodeSpec(enabled=False)}))


def test_a_missing_base_is_an_error_before_any_work(rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec) -> None:
    """Encoders that are not there are reported before the first record is read."""
    with pytest.raises(BadInput, match="is not a folder"):
        run(rorem_seven, tmp_path / "out", encoded_spec, base=str(tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []


def test_max_records_takes_the_first(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """A limit cuts the listing, and shards that were full already are the same ones."""
    run(rorem_seven, tmp_path / "all", pixel_spec)
    run(rorem_seven, tmp_path / "some", pixel_spec.model_copy(update={"max_records": 4}))
    hashes = [{f["path"]: f["sha256"] for f in integrity.verify(tmp_path / name)["files"]} for name in ("all", "some")]
    assert hashes[0]["shards/part-00000.parquet"] == hashes[1]["shards/part-00000.parquet"]
    assert len(open_dataset(tmp_path / "some")) == 4


def test_a_damaged_base_is_an_error_before_any_work(rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec, bundle_path: Path) -> None:
    """One flipped bit in an encoder's weights is noticed before the first record is read; the transformer is not even hashed."""
    base = Path(shutil.copytree(bundle_path, tmp_path / "base"))
    (next((base / "transformer").glob("*.safetensors"))).write_bytes(b"not read")
    weights = next((base / "rgba_vae").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(integrity.IntegrityError, match="rgba_vae.*is damaged"):
        run(rorem_seven, tmp_path / "out", encoded_spec, base=str(base))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]


def test_mirror_images_follow_their_records(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Each record is followed by itself with left and right exchanged, box included; records without it stay what they were."""
    plain = run(rorem_seven, tmp_path / "plain", pixel_spec)
    exact = {"loosen_box": 0.0, "shadow": ShadowSpec(kind="none")}  # what is drawn at random is drawn by a record's name
    run(rorem_seven, tmp_path / "both", pixel_spec.model_copy(update={"mirror": True, **exact}))
    both = open_dataset(tmp_path / "both", stage=1)
    ids = [str(name) for name in both.take(range(len(both)), ["id"])["id"]]
    assert ids[1::2] == [f"{name}-mirrored" for name in ids[::2]] and len(ids) == 14
    for index in range(0, 14, 2):
        for name in ("background", "composite", "foreground"):
            picture, mirrored = both.pictures(name, [index, index + 1])
            assert picture is not None and mirrored is not None
            shown, expected = (p * (p[..., 3:] / 255) if name == "foreground" else p.astype(float) for p in (mirrored, picture[:, ::-1]))
            # A matte is solved for in the order of the pixels; under alpha 0 a layer's colours mean nothing.
            assert np.abs(shown - expected).mean() < (2 if name != "background" else 1e-9)
        (x0, y0, x1, y1), box = both.boxes([index, index + 1])
        assert tuple(box) == (32 - x1, y0, 32 - x0, y1)
    assert run(rorem_seven, tmp_path / "again", pixel_spec.model_copy(update={"mirror": False})) == plain


def test_crops_follow_their_records(rorem_seven: Path, tmp_path: Path, pixel_spec: DataSpec) -> None:
    """Each record and its mirror image is followed by the crops that were asked for, all different; they show the object larger."""
    plain = run(rorem_seven, tmp_path / "plain", pixel_spec)
    crops = CropsSpec(count=2, smallest=0.7)
    run(rorem_seven, tmp_path / "more", pixel_spec.model_copy(update={"mirror": True, "crops": crops}))
    more = open_dataset(tmp_path / "more", stage=1)
    ids = [str(name) for name in more.take(range(len(more)), ["id"])["id"]]
    endings = ("", "-mirrored", "-crop1", "-mirrored-crop1", "-crop2", "-mirrored-crop2")
    assert ids == [f"{name}{ending}" for name in ids[::6] for ending in endings] and len(ids) == 42
    pictures = [picture for picture in more.pictures("composite", list(range(42))) if picture is not None]
    assert len({picture.tobytes() for picture in pictures}) == 42 and {picture.shape for picture in pictures} == {pictures[0].shape}
    areas = [(picture[..., 3] > 127).sum() for picture in more.pictures("foreground", list(range(42))) if picture is not None]
    assert sum(areas[2::6]) > 1.1 * sum(areas[0::6])
    assert run(rorem_seven, tmp_path / "again", pixel_spec.model_copy(update={"crops": CropsSpec()})) == plain


def test_captions_that_are_not_read_whole_are_counted(
    rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec, bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By encoder, in the notes, in one line each and by `bfs data show`; the content hash is that of the records alone."""
    root, output = Path(shutil.copytree(rorem_seven, tmp_path / "input")), tmp_path / "out"
    entries = json.loads((root / "meta.json").read_text())
    for entry, caption in zip(entries, ["a small red sphere " * 9, "a red cube " * 6, "a red 球"], strict=False):
        entry["caption"] = caption
    for entry in entries[3:]:
        entry["caption"] = "a small red sphere"
    (root / "meta.json").write_text(json.dumps(entries))
    run(root, output, encoded_spec, str(bundle_path))
    assert integrity.read_manifest(output)["notes"]["unread_captions"] == {"CLIP": 1, "T5": 3}
    said = capsys.readouterr().err
    assert "warning: CLIP did not read 1 of 7 captions whole" in said and "warning: T5 did not read 3 of 7 captions whole" in said
    assert "CLIP did not read 1 captions whole, T5 did not read 3 captions whole" in as_text(describe(output))


def test_an_rgba_vae_that_was_never_trained_makes_no_latents(
    rorem_seven: Path, tmp_path: Path, encoded_spec: DataSpec, pixel_spec: DataSpec
) -> None:
    """Refused before any work, with the job that trains it; pictures alone are built."""
    base = str(random_flux_fill(tmp_path / "fill"))
    with pytest.raises(BadInput) as caught:
        run(rorem_seven, tmp_path / "out", encoded_spec, base)
    for part in ("was never trained in rgba_vae", "jobs/train_rgba_vae.py --recipe flux_rgba_vae", "encode.enabled=false"):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()
    run(rorem_seven, tmp_path / "out", pixel_spec, base)
