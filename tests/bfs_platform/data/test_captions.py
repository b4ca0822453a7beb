"""Captions from a file beside any source, in the forms that people write; and what a build says when it has none."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.execute.finish import BuildFailed
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import BackgroundSpec, DataSpec

TABLE = 'file_name,caption\r\n0000.png,"a red disk, shining"\r\nsource/0001.png,a cup\r\n0002,ein Krüglein\r\n'
EXPECTED = ["a red disk, shining", "a cup", "ein Krüglein"]
RECORDS = [{"id": "0000", "text": EXPECTED[0]}, {"id": "0001", "text": EXPECTED[1]}, {"id": "0002", "text": EXPECTED[2], "more": 1}]
FORMS = {
    "captions.json": json.dumps({r["id"]: r["text"] for r in RECORDS}, ensure_ascii=False),
    "list captions.json": json.dumps(RECORDS, ensure_ascii=False),
    "captions.jsonl": "\r\n".join(json.dumps(r, ensure_ascii=False) for r in RECORDS) + "\r\n\r\n",
    "captions.csv": TABLE,
    "semicolons captions.csv": TABLE.replace(",", ";").replace("disk; shining", "disk, shining"),
    "captions.tsv": TABLE.replace(",", "\t").replace("disk\t shining", "disk, shining"),
    "heads captions.csv": TABLE.replace("file_name,caption", "File_Name , Caption"),
}


def uncaptioned(root: Path) -> Path:
    entries = [{k: v for k, v in entry.items() if k != "caption"} for entry in json.loads((root / "meta.json").read_text())]
    (root / "meta.json").write_text(json.dumps(entries))
    return root


def failure(name: str, root: Path, output: Path, spec: DataSpec) -> str:
    source = open_source(name, root)
    with pytest.raises(BuildFailed) as caught:
        build(source, output, spec, stream=in_process(source, spec, output))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_and_encodings(form: str, encoding: str, rorem: Callable[..., Path]) -> None:
    """JSON, JSON lines and tables; by id, by name, by path; with a byte order mark, in UTF-16, with lines that end as on Windows."""
    root = uncaptioned(rorem(3))
    (root / form.split()[-1]).write_bytes(FORMS[form].encode(encoding))
    assert [row.caption for row in open_source("rorem", root).rows()] == EXPECTED


def test_the_sources_own_captions_stay(rorem: Callable[..., Path]) -> None:
    """The file is for records that have none; a null in it is none."""
    root = rorem(2)
    (root / "captions.json").write_text(json.dumps({"0000": "from the file", "0001": None}))
    assert [row.caption for row in open_source("rorem", root).rows()] == ["a red disk", "a green disk"]
    assert [row.caption for row in open_source("rorem", uncaptioned(root)).rows()] == ["from the file", ""]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("captions.json", b"{", "not readable JSON"),
        ("captions.json", b"[1]", "not an object"),
        ("captions.jsonl", b"7\n", "not an object"),
        ("captions.csv", b"a,b\n1,2\n", "columns a, b"),
        ("captions.csv", b"id,caption\n1,caf\xe9\n", "UTF-8 or UTF-16"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(name: str, content: bytes, rule: str, rorem: Callable[..., Path]) -> None:
    """Before anything is built, with the form that it should have."""
    root = rorem(1)
    (root / name).write_bytes(content)
    with pytest.raises(BadInput, match=rule) as caught:
        list(open_source("rorem", root).rows())
    assert name in str(caught.value)


def test_lists_in_utf_16(rorem: Callable[..., Path], tmp_path: Path) -> None:
    """As PowerShell writes them: RORem's meta.json, DESOBAv2's list."""
    root = rorem(2)
    plain = list(open_source("rorem", root).rows())
    (root / "meta.json").write_bytes((root / "meta.json").read_text().encode("utf-16"))
    assert list(open_source("rorem", root).rows()) == plain
    (tmp_path / "shadows").mkdir()
    for mark, encoding in ((b"", "utf-16"), (codecs.BOM_UTF8, "utf-8")):
        (tmp_path / "shadows" / "train.txt").write_bytes(mark + "a.jpg\r\nb\r\n".encode(encoding))
        assert [row.id for row in open_source("desobav2", tmp_path / "shadows").rows()] == ["a", "b"]


class TestRemedies:
    """A build that fails says what its commonest reject asks for, with the first of them as an example."""

    def test_no_captions(self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
        """RORem brings none: three ways to get some; more rejects allowed would not help where all are."""
        text = failure("rorem", uncaptioned(rorem(3)), tmp_path / "out", pixel_spec)
        for way in ("caption.kind=blip2", "default_caption=", "captions.json"):
            assert way in text
        assert "mend the source" not in text and "or set max_reject_rate" not in text and "first 0000: the record has no caption" in text

    @pytest.mark.parametrize("brightest", [1, 100])
    def test_dark_masks(self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, brightest: int) -> None:
        """Masks of 0 and 1 are for programs, not for eyes: 255 is expected."""
        root = rorem(3)
        for path in (root / "mask").iterdir():
            Image.fromarray((np.asarray(Image.open(path)) // 255 * brightest).astype(np.uint8)).save(path)
        text = failure("rorem", root, tmp_path / "out", pixel_spec)
        assert f"the brightest value of object_mask is {brightest}; 255 is expected" in text and "white (255)" in text
        assert ("multiply it by 255" in text) == (brightest == 1)

    def test_effect_masks_of_zero_and_one(self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
        """They would pass for masks of nothing; black ones are masks of nothing."""
        root = rorem(3)
        for number, path in enumerate(sorted((root / "effect").iterdir())):
            Image.fromarray((np.asarray(Image.open(path)) // 255 * (number > 0)).astype(np.uint8)).save(path)
        assert "value of effect_mask is 1; 255 is expected" in failure("rorem", root, tmp_path / "out", pixel_spec)

    @pytest.mark.parametrize(
        ("change", "way"),
        [
            ({"checks": {"max_pixels": 10}}, "checks.max_pixels"),
            ({"buckets": [[512, 512]]}, "checks.max_upscale"),
            ({"checks": {"max_box_fraction": 0.001}}, "checks.max_box_fraction"),
            ({"checks": {"min_difference": 200}}, "checks.min_difference"),
        ],
    )
    def test_other_reasons(
        self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec, change: dict[str, Any], way: str
    ) -> None:
        """Each names the setting that it is about."""
        spec = DataSpec.model_validate(
            pixel_spec.model_dump() | {k: pixel_spec.model_dump()[k] | v if isinstance(v, dict) else v for k, v in change.items()}
        )
        assert way in failure("rorem", rorem(3), tmp_path / "out", spec.named("tabletop_data_stage1"))

    def test_no_background(self, rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> None:
        """Where some are kept, allowing more rejects is a way too."""
        root = rorem(3)
        for folder, name in (("source", "composite"), ("GT", "background")):
            (root / folder).rename(root / name)
        for stem in ("0000", "0001"):
            (root / "background" / f"{stem}.png").unlink()
        spec = pixel_spec.model_copy(update={"default_caption": "a disk", "background": BackgroundSpec()})
        text = failure("triplets", root, tmp_path / "out", spec)
        assert "background.kind=harmonic" in text and "or set max_reject_rate" in text
