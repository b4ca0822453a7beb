"""The layout on disk, and what an unfinished set keeps, mends and gives up."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.integrity import check_free, verify
from bfs_platform.tabletop.sample import FOLDERS, Request, Sample
from bfs_platform.tabletop.writer import KIND, Partial

REQUEST = Request(seed=3, resolution=32)


def _sample(index: int) -> Sample:
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32), index, np.uint8)).save(buffer, format="PNG")
    record = {folder: f"{folder}/{index:06d}.png" for folder in FOLDERS} | {"caption": f"scene {index}"}
    return Sample(index, dict.fromkeys(FOLDERS, buffer.getvalue()), record)


def test_a_set_is_published_in_order(tmp_path: Path) -> None:
    """Scenes added in any order end as one verified directory, ordered by index, and the unfinished folder is gone."""
    output = tmp_path / "world"
    with Partial(output, REQUEST).opened() as partial:
        for index in (2, 0, 1, 3):
            partial.add(_sample(index))
        manifest = partial.publish(3, notes={"wall_s": 1.0})
    assert manifest == output / "manifest.json" and [path.name for path in tmp_path.iterdir()] == ["world"]
    body = verify(output, "source")["body"]
    assert body["name"] == "tabletop" and body["licence"] == "CC0-1.0" and body["num_records"] == 3
    assert (body["seed"], body["split"], body["resolution"]) == (3, "train", 32)
    records = json.loads((output / "meta.json").read_text())
    assert [record["caption"] for record in records] == ["scene 0", "scene 1", "scene 2"]
    assert sorted(path.name for path in (output / "GT").iterdir()) == ["000000.png", "000001.png", "000002.png"]
    assert all(
        (output / record[folder]).read_bytes() == _sample(i).images[folder] for i, record in enumerate(records) for folder in FOLDERS
    )


def test_finished_scenes_are_kept(tmp_path: Path) -> None:
    """A second run with the same request finds what the first one finished, and only that."""
    output = tmp_path / "world"
    with Partial(output, REQUEST).opened() as partial:
        partial.add(_sample(1))
        partial.add(_sample(4))
    with Partial(output, REQUEST).opened() as partial:
        assert partial.finished(10) == {1, 4} and partial.finished(3) == {1}


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "record"])
def test_a_damaged_scene_is_not_finished(tmp_path: Path, damage: str) -> None:
    """A picture that was cut short, changed or lost, or a record that cannot be read, makes its scene count as missing."""
    with Partial(tmp_path / "world", REQUEST).opened() as partial:
        partial.add(_sample(0))
        partial.add(_sample(1))
        picture = partial.path / "effect" / "000001.png"
        content = bytearray(picture.read_bytes())
        if damage == "cut":
            picture.write_bytes(content[: len(content) // 2])
        elif damage == "flip":
            content[len(content) // 2] ^= 1
            picture.write_bytes(content)
        elif damage == "remove":
            picture.unlink()
        else:
            (partial.path / "records" / "000001.json").write_text("{")
        assert partial.finished(2) == {0}


def test_scenes_of_another_request_are_dropped(tmp_path: Path) -> None:
    """Scenes of another seed must not slip into the set."""
    with Partial(tmp_path / "world", REQUEST).opened() as partial:
        partial.add(_sample(0))
    with Partial(tmp_path / "world", Request(seed=4, resolution=32)).opened() as partial:
        assert partial.finished(5) == set() and not list((partial.path / "source").iterdir())


def test_two_renders_do_not_share_an_output(tmp_path: Path) -> None:
    """While one process renders into an output, a second one is told so."""
    with (
        Partial(tmp_path / "world", REQUEST).opened(),
        pytest.raises(BadInput, match="another process"),
        Partial(tmp_path / "world", REQUEST).opened(),
    ):
        pass
    assert (tmp_path / ".world.rendering").is_dir()


def test_a_foreign_output_is_refused(tmp_path: Path) -> None:
    """A file, or a directory that BFS did not write, is left alone."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    (tmp_path / "file").write_text("x")
    for name, message in {"photos": "not written by BFS", "file": "is a file"}.items():
        with pytest.raises(BadInput, match=message):
            check_free(tmp_path / name, KIND)
    with pytest.raises(BadInput, match="cannot be written"), Partial(tmp_path / "file" / "world", REQUEST).opened():
        pass
    assert (tmp_path / "photos" / "cat.png").read_bytes() == b"cat"
