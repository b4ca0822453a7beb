"""The job: on a Ray cluster, interrupted and continued, and with wrong input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_model.integrity import read_manifest, verify
from bfs_platform.entry.render import main, render_set
from bfs_platform.tabletop.sample import FOLDERS, Request, make_chunk
from bfs_platform.tabletop.writer import Partial

REQUEST = Request(seed=7, split="validation", resolution=24, samples=4)


@pytest.mark.ray
def test_a_set_is_the_same_on_a_cluster_and_alone(ray_cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bitwise: more scenes than the cluster takes at once, some of them found from an interrupted run, equal plain calls."""
    num_scenes = 44
    expected = make_chunk(REQUEST, list(range(num_scenes)))
    with Partial(tmp_path / "world", REQUEST).opened() as partial:
        for made in expected[5:12]:
            partial.add(made)
    arguments = ["--scenes", str(num_scenes), "--seed", "7", "--split", "validation", "--world", "1", "--resolution", "24"]
    manifest = main([*arguments, "--samples", "4", "--output", str(tmp_path / "world")])
    assert verify(manifest.parent, "source")["notes"]["num_rendered"] == num_scenes - 7
    assert json.loads((manifest.parent / "meta.json").read_text()) == [made.record for made in expected]
    for made in expected:
        assert all((manifest.parent / made.record[folder]).read_bytes() == made.images[folder] for folder in FOLDERS)
    shown = capsys.readouterr().err
    assert "Continuing: 7 of 44" in shown and "rendering: 44/44 scenes in" in shown


def test_nothing_left_to_render_needs_no_cluster(tmp_path: Path) -> None:
    """A run that was interrupted just before its end is published at once, and the content hash ignores how it came about."""
    hashes = set()
    for name in ("a", "b"):
        with Partial(tmp_path / name, REQUEST).opened() as partial:
            for made in make_chunk(REQUEST, [0, 1]):
                partial.add(made)
        hashes.add(read_manifest(render_set(REQUEST, 2, tmp_path / name).parent)["content_hash"])
    assert len(hashes) == 1


@pytest.mark.parametrize("num_scenes", [0, -3, 10_000_000])
def test_a_bad_number_of_scenes_is_refused(tmp_path: Path, num_scenes: int) -> None:
    """Nothing is created for a request that cannot be met."""
    with pytest.raises(BadInput, match=f"scenes={num_scenes}"):
        render_set(REQUEST, num_scenes, tmp_path / "world")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenes", "0", "--output", "OUT"], "scenes=0"),
        (["--scenes", "2", "--output", "OUT", "--split", "tst"], "split=tst"),
        (["--scenes", "two", "--output", "OUT"], "invalid int value"),
        (["--scenes", "2", "--output", "FOREIGN"], "was not written by BFS"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    repo_root: Path, bare_env: dict[str, str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    """A user sees what to change, on one line of stderr, and no traceback."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "a.txt").write_text("mine")
    places = {"OUT": str(tmp_path / "out"), "FOREIGN": str(tmp_path / "foreign")}
    command = [sys.executable, str(repo_root / "jobs" / "render_tabletop.py"), *(places.get(part, part) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=bare_env, cwd=tmp_path, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize("output", ["s3://bucket/set", Path("s3://bucket/set"), "gs://bucket/set"])
def test_an_object_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | Path) -> None:
    """Pictures are rendered into a folder; a URI must not become one called `s3:`."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="is on an object store"):
        render_set(REQUEST, 1, output)
    with pytest.raises(BadInput, match="output=|location="):
        main(["--scenes", "1", "--output", "http://bucket/set" if isinstance(output, Path) else output])
    assert not list(tmp_path.iterdir())
