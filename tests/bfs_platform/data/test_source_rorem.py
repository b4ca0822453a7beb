"""RORem's layout: what is listed, and what is refused."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.data.build import check_licence
from bfs_platform.data.read import read_part
from bfs_platform.data.record import Part, Reason, Reject
from bfs_platform.data.sources.base import open_source
from bfs_platform.data.sources.rorem import record_id


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
