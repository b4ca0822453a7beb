"""The frozen list, and reading what it names."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_platform.data.record import Reject
from bfs_platform.evaluate.samples import Entry, Sample, _scaled, frozen_list, list_entries, list_hash, read_sample, select

LIMIT = 10**6


def test_extras_are_used_when_they_are_there(make_source) -> None:
    """Caption, box, effect region and the value to group by come from the source."""
    root = make_source(2)
    entries = list_entries(root, ["material", "colour"])
    assert [(entry.row.id, entry.groups) for entry in entries] == [("000", {"material": "metal"}), ("001", {"material": "glass"})]
    sample = read_sample(Entry.from_json(entries[1].to_json()), root, LIMIT)
    assert (sample.caption, sample.box) == ("cube 1", Box(6, 8, 14, 16))
    assert sample.effect is not None and sample.effect.sum() == 32 and sample.object_mask.sum() == 64
    assert sample.region().sum() == 96
    assert tuple(sample.truth[9, 7]) == (200, 40, 40) and sample.background[9, 7, 0] == sample.background[9, 20, 0]


def test_without_extras_the_box_follows_from_the_mask(make_source) -> None:
    """A plain RORem folder has no boxes and no effects."""
    root = make_source(1, extras=False)
    sample = read_sample(list_entries(root)[0], root, LIMIT)
    assert (sample.box, sample.caption, sample.effect) == (Box(6, 8, 14, 16), "", None)
    assert sample.region().sum() == 64


def test_the_hash_covers_pictures_prompts_boxes_and_order(make_source) -> None:
    """Equal lists have equal hashes wherever they lie; any change gives another; a manifest changes nothing."""
    root = make_source(3, folder="a")
    entries = list_entries(root)
    assert list_hash(entries) == list_hash(list_entries(make_source(3, folder="b")))
    assert list_hash(entries) == list_hash(list_entries(make_source(3, folder="c", sealed=True)))
    assert len({list_hash(entries), list_hash(entries[:2]), list_hash(entries[::-1])}) == 3
    pixels = np.asarray(Image.open(root / "GT/001.png")).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(root / "GT/001.png")
    assert list_hash(list_entries(root)) != list_hash(entries)


def test_limit_takes_the_first(make_source) -> None:
    """`limit` cuts the list and reads nothing behind it."""
    root = make_source(3)
    (root / "GT/002.png").unlink()
    assert [entry.row.id for entry in list_entries(root, limit=2)] == ["000", "001"]


def test_a_frozen_list_is_the_same_records_or_nothing(make_source, tmp_path) -> None:
    """The list of an earlier evaluation picks its records from a larger source, and refuses changed or missing ones."""
    root = make_source(4)
    entries = list_entries(root)
    path = tmp_path / "list.json"
    path.write_text(json.dumps(frozen_list([entries[2], entries[0]])))
    assert select(entries, path) == [entries[2], entries[0]]
    with pytest.raises(BadInput, match="names 1 records that the input lacks, first 002"):
        select(entries[:2], path)
    with pytest.raises(BadInput, match="other pictures, prompts or boxes"):
        select(list_entries(make_source(4, folder="other", meta={"caption": "new"})), path)
    path.write_text("[]")
    with pytest.raises(BadInput, match="is not a frozen evaluation list"):
        select(entries, path)
    with pytest.raises(BadInput, match="names 200 records that the input lacks, first 000000"):
        select(entries, Path("tabletop_heldout_200"))


def test_scenes_that_another_processor_rendered_are_the_same_scenes(make_source, tmp_path, capsys) -> None:
    """A list that says how its pictures were rendered takes other bits of the same rendering, and says so; no other change."""
    entries = list_entries(make_source(2))
    request = {"name": "tabletop", "seed": 11}
    frozen = frozen_list(entries) | {"rendered": request}
    frozen["entries"][1]["sha256"] = dict.fromkeys(frozen["entries"][1]["sha256"], "0" * 64)
    path = tmp_path / "list.json"
    path.write_text(json.dumps(frozen | {"hash": "0" * 64}))
    assert select(entries, path, request | {"licence": "CC0-1.0"}) == entries
    assert "1 of 2 records differ" in capsys.readouterr().err
    for source in (None, request | {"seed": 12}):
        with pytest.raises(BadInput, match="other pictures"):
            select(entries, path, source)
    frozen["entries"][0]["caption"] = "something else"
    path.write_text(json.dumps(frozen | {"hash": "0" * 64}))
    with pytest.raises(BadInput, match="other pictures"):
        select(entries, path, request)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda root: (root / "GT/000.png").unlink(), "missing"),
        (lambda root: (root / "source/000.png").write_bytes(b"no picture"), "composite"),
        (lambda root: Image.new("L", (24, 24)).save(root / "mask/000.png"), "empty_mask"),
        (lambda root: Image.new("RGB", (20, 24)).save(root / "GT/000.png"), "size_mismatch"),
    ],
)
def test_a_bad_record_is_rejected_with_its_reason(make_source, harm, reason) -> None:
    """What is wrong with one record is said when it is read; listing goes on."""
    root = make_source(2)
    harm(root)
    entries = list_entries(root)
    with pytest.raises(Reject, match=reason):
        read_sample(entries[0], root, LIMIT)
    assert read_sample(entries[1], root, LIMIT).id == "001"


def test_damage_is_noticed_against_the_manifest(make_source) -> None:
    """A flipped bit that still decodes is rejected when the source came with hashes."""
    root = make_source(1, sealed=True)
    pixels = np.asarray(Image.open(root / "GT/000.png")).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(root / "GT/000.png")
    with pytest.raises(Reject, match="sha256"):
        read_sample(list_entries(root)[0], root, LIMIT)


def test_repeated_ids_are_refused(make_source) -> None:
    """Seeds depend on ids, so two records may not share one."""
    root = make_source(2, meta={"source": "source/000.png"})
    with pytest.raises(BadInput, match="names 1 records twice"):
        list_entries(root)


def test_seeds_depend_on_seed_and_id_alone(make_source) -> None:
    """The same record keeps its noise in any list; another seed or record has another."""
    root = make_source(3)
    one, two, three = (read_sample(entry, root, LIMIT) for entry in list_entries(root))
    assert read_sample(list_entries(root)[1], root, LIMIT).seed(7) == two.seed(7)
    assert len({s.seed(seed) for s in (one, two, three) for seed in (7, 8)}) == 6
    assert 0 <= one.seed(7) < 2**63


def test_records_drawn_by_seed(make_source) -> None:
    """The draw depends on seed and ids alone, not on how many are wanted; all are taken when there are fewer."""
    root = make_source(6)
    ids = [entry.row.id for entry in list_entries(root, num_records=6, seed=1)]
    assert sorted(ids) == [f"{i:03d}" for i in range(6)] and ids != sorted(ids)
    assert [entry.row.id for entry in list_entries(root, num_records=2, seed=1)] == ids[:2]
    assert [entry.row.id for entry in list_entries(root, num_records=6, seed=2)] != ids
    assert len(list_entries(root, num_records=100)) == 6


@pytest.mark.parametrize("size", [(1025, 768), (768, 1025), (683, 512), (1000, 333)])
def test_an_object_at_the_far_edge_is_scaled_with_its_picture(size: tuple[int, int]) -> None:
    """Rounding of the long side leaves neither the box outside nor a gap: it still ends where the picture ends."""
    width, height = size
    mask = np.zeros((height, width), bool)
    mask[height - 100 :, width - 90 :] = True
    picture = np.zeros((height, width, 3), np.uint8)
    scaled = _scaled(Sample("a", "", Box(width - 90, height - 100, width, height), picture, picture, mask, None), 512)
    assert min(scaled.object_mask.shape) == 512 and scaled.object_mask[-1, -1]
    assert (scaled.box.x1, scaled.box.y1) == scaled.object_mask.shape[::-1]


def test_an_object_that_scaling_swallows_is_refused() -> None:
    """An empty mask would favour whoever draws nothing."""
    mask = np.zeros((3000, 3000), bool)
    mask[1500, 1500] = True
    picture = np.zeros((3000, 3000, 3), np.uint8)
    with pytest.raises(Reject, match="empty at 32x32"):
        _scaled(Sample("a", "", Box(1500, 1500, 1501, 1501), picture, picture, mask, None), 32)


def test_the_short_side_is_scaled(make_source) -> None:
    """All pictures grow together; the box stays around the object."""
    root = make_source(1)
    entry = list_entries(root)[0]
    plain, large = read_sample(entry, root, 10**6), read_sample(entry, root, 10**6, short_side=48)
    assert large.background.shape == large.truth.shape == (48, 48, 3) and large.effect is not None
    assert tuple(large.box) == tuple(2 * v for v in plain.box)
    assert large.object_mask.sum() == 4 * plain.object_mask.sum() and large.object_mask[16:32, 12:28].all()
    assert large.seed(0) == plain.seed(0)


def test_a_box_that_is_none_is_the_fault_of_its_record(make_source) -> None:
    """The list stands, on its way to a worker as well; the record is told to be at fault, by the name of what is wrong."""
    for number, box in enumerate(([10.5, 2, 3, 4], [0, 0, 0, 0], "here", [])):
        root = make_source(1, folder=f"s{number}", meta={"box": box})
        (entry,) = list_entries(root)
        with pytest.raises(BadInput, match="box"):
            read_sample(Entry.from_json(entry.to_json()), root, 10**6)
