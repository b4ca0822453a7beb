"""Training from an S3 server: the run from the store is, bit for bit, the run from the folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import training
from ranks import Ranks

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_platform.config import resolve
from bfs_platform.storage.path import RemotePath
from bfs_platform.train.launch.launch import fit
from bfs_platform.train.spec import TrainSpec

Sets = dict[int, tuple[Path, RemotePath]]


@pytest.fixture
def sets(bundle_path: Path, tmp_path: Path, bucket: RemotePath, upload: Callable[..., RemotePath]) -> Sets:
    """Both training sets, each in a folder and on the store."""
    near = {stage: training.write_set(tmp_path / f"stage{stage}", stage, bundle_path) for stage in (1, 2)}
    return {stage: (folder, upload(folder, bucket / f"stage{stage}")) for stage, folder in near.items()}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFS_HOME", str(tmp_path / "home"))


def spec_of(recipe: str, *changes: str) -> TrainSpec:
    """A recipe of four steps in this process."""
    return resolve(recipe, [*training.SHORT, "num_workers=0", "threads_per_worker=1", *changes], TrainSpec)


def same_weights(one: Path, two: Path) -> bool:
    """Whether two results hold the same bits."""
    return training.difference(training.weights_of(one), training.weights_of(two)) == 0


def test_a_run_from_the_store_equals_one_from_the_folder(sets: Sets, bundle_path: Path, tmp_path: Path) -> None:
    """Stage 2 on both sets: equal weights, equal record of what was trained on; the sets were copied once, under their hashes."""
    spec = spec_of("tabletop_stage2")
    near = fit(spec, str(bundle_path), [sets[1][0], sets[2][0]], tmp_path / "near")
    far = fit(spec, str(bundle_path), [str(sets[1][1]), str(sets[2][1])], tmp_path / "far")
    assert same_weights(near, far)
    bodies = [integrity.verify(m.parent)["body"]["training"] for m in (near, far)]
    assert bodies[0]["datasets"] == bodies[1]["datasets"]
    hashes = {d["content_hash"] for d in bodies[1]["datasets"]}
    assert {p.name for p in (tmp_path / "home" / "datasets").iterdir() if not p.name.startswith(".")} == hashes


def test_a_run_begun_from_the_folder_goes_on_from_the_store(sets: Sets, bundle_path: Path, tmp_path: Path) -> None:
    """A set is its content, wherever it lies: two steps from the folder and two from the store are four from the folder."""
    steady = "optimizer.schedule=constant"  # the default's rate depends on how many steps there will be
    whole = fit(spec_of("tabletop_stage1", steady), str(bundle_path), [sets[1][0]], tmp_path / "whole")
    fit(spec_of("tabletop_stage1", steady, "num_steps=2"), str(bundle_path), [sets[1][0]], tmp_path / "moved")
    shutil.rmtree(sets[1][0])
    moved = fit(spec_of("tabletop_stage1", steady), str(bundle_path), [str(sets[1][1])], tmp_path / "moved")
    assert same_weights(whole, moved)


def test_what_is_wrong_with_the_store_is_said_before_the_run(sets: Sets, bundle_path: Path, bucket: RemotePath, tmp_path: Path) -> None:
    """No bucket, no set, a shard gone: one line each, and no run was begun."""
    places = {"s3://no-such-bucket/set": "bucket that does not exist", f"s3://{bucket.key}/absent": "has no manifest"}
    for place, line in places.items():
        with pytest.raises(BadInput, match=line):
            fit(spec_of("tabletop_stage1"), str(bundle_path), [place], tmp_path / "run")
    (sets[1][1] / "shards/part-00000.parquet").unlink()
    with pytest.raises(BadInput, match="listed in the manifest and missing"):
        fit(spec_of("tabletop_stage1"), str(bundle_path), [str(sets[1][1])], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.distributed
def test_ranks_of_a_machine_read_one_copy(sets: Sets, bundle_path: Path, tmp_path: Path) -> None:
    """Two ranks that start together from the store: one of them copies, and the weights are those of two ranks from the folder."""
    near = training.config(tmp_path / "near", "tabletop_stage1", bundle_path, {1: sets[1][0]}, ["num_workers=2"])
    far = training.config(tmp_path / "far", "tabletop_stage1", bundle_path, {}, ["num_workers=2"])
    far["datasets"] = {"synthetic": str(sets[1][1])}
    with Ranks(tmp_path) as ranks:
        group = ranks.start(far, world_size=2)
        assert same_weights(ranks.run(near, world_size=2), ranks.wait(group))
        assert group.log().count("Fetching 1 files") == 1
