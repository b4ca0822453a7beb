"""What a person sees of a dataset."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bfs_model.errors import IntegrityError
from bfs_platform.data.execute.build import build, in_process
from bfs_platform.data.shard.show import as_text, contact_sheet, describe
from bfs_platform.data.source.base import open_source
from bfs_platform.data.spec import DataSpec


@pytest.fixture
def built(rorem: Callable[..., Path], tmp_path: Path, pixel_spec: DataSpec) -> Path:
    """Four records, one of them rejected; the caption of the first holds markup."""
    root = rorem(4)
    meta = (root / "meta.json").read_text()
    (root / "meta.json").write_text(meta.replace("a red disk", "a <b>red</b> disk"))
    (root / "GT" / "0002.png").unlink()
    source = open_source("rorem", root)
    build(source, tmp_path / "set", pixel_spec, stream=in_process(source, pixel_spec, tmp_path / "set"))
    return tmp_path / "set"


def test_facts(built: Path) -> None:
    """The facts are those of the manifest, as plain JSON values, and readable as text."""
    facts = describe(built)
    assert (facts["stage"], facts["num_records"], facts["num_shards"], facts["rejects"]) == (1, 3, 2, {"missing": 1})
    assert facts["reject_rate"] == 0.25 and facts["base"] is None
    text = as_text(facts)
    assert "missing 1 (25.0%)" in text and "rorem (research-only)" in text and "32x32" in text and "not encoded" in text


def test_a_directory_without_manifest_is_refused(tmp_path: Path) -> None:
    """Nothing is described that was not committed."""
    with pytest.raises(IntegrityError, match="has no manifest"):
        describe(tmp_path)


def test_contact_sheet_shows_every_layer(built: Path, tmp_path: Path) -> None:
    """One page, four pictures per record, loading nothing from elsewhere; captions are text, not markup."""
    page = contact_sheet(built, tmp_path / "sheet.html").read_text()
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 4 * 3
    assert "a &lt;b&gt;red&lt;/b&gt; disk" in page and "<b>red" not in page
    assert "http" not in page
    assert contact_sheet(built, tmp_path / "one.html", num_samples=1).read_text().count("<img") == 4
