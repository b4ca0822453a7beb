"""RORem's layout: what is listed, and what is refused."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.data.execute.build import check_licence
from bfs_platform.data.record import Part, Reason, Reject
from bfs_platform.data.source.base import open_source
from bfs_platform.data.source.read import read_part
from bfs_platform.data.source.rorem import record_id
from bfs_platform.data.spec import DataSpec, MaskSpec
from bfs_platform.data.stage.compose import Composer


def test_lists_meta_in_order(rorem: Callable[..., Path]) -> None:
    """Each entry becomes a row with its caption and parts, in the order of meta.json."""
    root = rorem(3)
    rows = list(open_source("rorem", root).rows())
    assert [row.id for row in rows] == ["0000", "0001", "0002"]
    assert rows[1].caption == "a green disk"
    assert {role: part.path for role, part in rows[2].parts.items()} == {
        "composite": "source/0002.png",
        "background": "GT/0002.png",
        "object_mask": "mask/0002.png",
        "effect_mask": "effect/0002.png",
    }


def test_faulty_entries_become_problem_rows(rorem: Callable[..., Path]) -> None:
    """An entry that is no record, or lacks a picture, is listed with its problem instead of ending the build."""
    root = rorem(1)
    entries = json.loads((root / "meta.json").read_text())
    (root / "meta.json").write_text(json.dumps([*entries, "nonsense", {"source": "source/x.png", "mask": "mask/x.png"}]))
    rows = list(open_source("rorem", root).rows())
    assert [row.problem is None for row in rows] == [True, False, False]
    assert "entry 2" in str(rows[2].problem) and "GT" in str(rows[2].problem)


@pytest.mark.parametrize(
    ("content", "rule"), [(None, "has no meta.json"), ("{", "not readable JSON"), ("{}", "not a list"), ("[]", "not a list")]
)
def test_bad_meta_is_bad_input(tmp_path: Path, content: str | None, rule: str) -> None:
    """A folder without a usable meta.json is refused in one line."""
    if content is not None:
        (tmp_path / "meta.json").write_text(content)
    with pytest.raises(BadInput, match=rule):
        list(open_source("rorem", tmp_path).rows())


def test_meta_with_a_byte_order_mark(rorem: Callable[..., Path]) -> None:
    """As editors on Windows write it."""
    root = rorem(2)
    plain = list(open_source("rorem", root).rows())
    (root / "meta.json").write_bytes(codecs.BOM_UTF8 + (root / "meta.json").read_bytes())
    assert list(open_source("rorem", root).rows()) == plain and len(plain) == 2


def test_unknown_source_names_the_nearest(tmp_path: Path) -> None:
    """A mistyped source is answered with the one that was meant."""
    with pytest.raises(BadInput, match="did you mean rorem"):
        open_source("rorm", tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        open_source("rorem", tmp_path / "absent")


def test_hashes_of_a_source_manifest_are_checked_on_reading(rorem: Callable[..., Path]) -> None:
    """With a manifest, every part carries its sha256, and one flipped bit is noticed."""
    root = rorem(2)
    integrity.write_manifest(root, "source", {"name": "tabletop", "licence": "Apache-2.0"})
    row = next(iter(open_source("rorem", root).rows()))
    part = row.parts["composite"]
    assert read_part(root, part) == (root / part.path).read_bytes()
    data = bytearray((root / part.path).read_bytes())
    data[len(data) // 2] ^= 4
    (root / part.path).write_bytes(data)
    with pytest.raises(Reject) as caught:
        read_part(root, part)
    assert caught.value.reason == Reason.DAMAGED


def test_reading_stays_inside_the_source(tmp_path: Path) -> None:
    """A listing from elsewhere cannot name other files of this machine."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "source").mkdir()
    for path in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(Reject, match="leads out of the source"):
            read_part(tmp_path / "source", Part(path))
    with pytest.raises(Reject) as caught:
        read_part(tmp_path / "source", Part("absent.png"))
    assert caught.value.reason == Reason.MISSING


def test_licences(rorem: Callable[..., Path]) -> None:
    """RORem may not go into a commercial set; a folder whose manifest states a free licence may."""
    research = open_source("rorem", rorem(1))
    with pytest.raises(BadInput, match=r"rorem \(research-only\)"):
        check_licence([research], commercial=True)
    check_licence([research], commercial=False)
    root = rorem(1, name="tabletop")
    integrity.write_manifest(root, "source", {"licence": "Apache-2.0"})
    check_licence([open_source("rorem", root)], commercial=True)


def test_record_ids() -> None:
    """Ids are paths inside source/, without suffix."""
    assert record_id("source/a/7.png") == "a/7"
    assert record_id("images/7.jpg") == "images/7"


def test_a_list_that_is_not_the_manifests_is_refused(rorem: Callable[..., Path]) -> None:
    """With a manifest, meta.json itself is checked before the first record is listed."""
    root = rorem(2)
    integrity.write_manifest(root, "source", {"licence": "CC0-1.0"})
    assert [row.id for row in open_source("rorem", root).rows()] == ["0000", "0001"]
    entries = json.loads((root / "meta.json").read_text())
    (root / "meta.json").write_text(json.dumps(entries[::-1]))
    with pytest.raises(integrity.IntegrityError, match="meta.json is not the one in the folder's manifest.json"):
        list(open_source("rorem", root).rows())


def test_pictures_that_the_manifest_does_not_list_are_problem_rows(rorem: Callable[..., Path]) -> None:
    """Nothing vouches for them: that record is set aside, the others are listed with their hashes."""
    root = rorem(2)
    effect = root / "effect" / "0001.png"
    data = effect.read_bytes()
    effect.unlink()
    integrity.write_manifest(root, "source", {"licence": "CC0-1.0"})
    effect.write_bytes(data)
    whole, unlisted = open_source("rorem", root).rows()
    assert whole.problem is None and all(part.sha256 for part in whole.parts.values())
    assert unlisted.id == "0001" and unlisted.problem == "effect/0001.png is not in the folder's manifest.json"


def test_a_box_stands_for_a_mask(rorem: Callable[..., Path], pixel_spec: DataSpec) -> None:
    """An entry without a mask may have a box for SAM 2; beside a mask it changes nothing, and without SAM 2 it is a reject."""
    root = rorem(3)
    entries = json.loads((root / "meta.json").read_text())
    plain = list(open_source("rorem", root).rows())
    for entry in entries:
        entry["box"] = [3, 5, 14, 18]
    del entries[1]["mask"]
    entries[2] |= {"mask": None, "box": [1, 2, "3", 4]}
    (root / "meta.json").write_text(json.dumps(entries))
    masked, boxed, faulty = open_source("rorem", root).rows()
    assert masked == plain[0] and "mask (or box)" in str(faulty.problem)
    assert boxed.box == (3, 5, 14, 18) and boxed.problem is None and "object_mask" not in boxed.parts

    def fetch(part: Part) -> bytes:
        return read_part(root, part)

    record = Composer(pixel_spec.model_copy(update={"mask": MaskSpec(kind="sam2")})).prepare(boxed, fetch)
    assert record.mask_is_box and (record.object_mask[5:18, 3:14] == 255).all() and record.object_mask.sum() == 255 * 13 * 11
    with pytest.raises(Reject, match="no object_mask"):
        Composer(pixel_spec).prepare(boxed, fetch)
