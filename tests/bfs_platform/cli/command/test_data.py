"""`bfs data show`: what the command adds to `bfs_platform.data.shard.show`."""

import json

import pytest

from bfs_model.integrity import write_manifest


@pytest.fixture
def dataset(tmp_path):
    """A committed dataset of one (empty) shard, as far as its manifest goes."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/part-00000.parquet").write_bytes(b"shard")
    body = {
        "stage": 1,
        "num_records": 3,
        "encoded": False,
        "base": None,
        "recipe": {"recipe": "r", "spec": {"seed": 1, "buckets": [[64, 96]]}},
    }
    body |= {"sources": [{"name": "tabletop", "licence": "CC0", "content_hash": "ab" * 32}], "rejects": {"empty_matte": 1}}
    body |= {"shards": [{"path": "shards/part-00000.parquet", "num_records": 3}]}
    write_manifest(tmp_path, "dataset", body, {"wall_s": 2.0, "stage_s": {"encode": 1.0}})
    return tmp_path


def test_show_as_text_and_as_json(bfs, dataset) -> None:
    """Both forms tell records, rejects and sources."""
    facts = json.loads(bfs("data", "show", dataset, "--json").stdout)
    assert (facts["num_records"], facts["rejects"], facts["reject_rate"]) == (3, {"empty_matte": 1}, 0.25)
    text = bfs("data", "show", dataset).stdout
    assert "empty_matte 1" in text
    assert "tabletop (CC0)" in text


def test_verify_finds_a_flipped_bit(bfs, dataset) -> None:
    """--verify reads the files; without it only the manifest is read."""
    assert bfs("data", "show", dataset, "--verify").exit_code == 0
    (dataset / "shards/part-00000.parquet").write_bytes(b"sharD")
    assert bfs("data", "show", dataset).exit_code == 0
    damaged = bfs("data", "show", dataset, "--verify")
    assert damaged.exit_code == 2
    assert "part-00000.parquet is damaged" in damaged.stderr


def test_what_is_no_dataset_is_refused(bfs, tmp_path) -> None:
    """A missing directory and one without a manifest: exit code 2, one line."""
    for directory in (tmp_path / "missing", tmp_path):
        result = bfs("data", "show", directory)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "has no manifest" in result.stderr
        assert len(result.stderr.splitlines()) == 1
