"""Manifests under `kill -9`: whatever moment a writer dies at, no reader takes half of its work for the whole."""

import subprocess
import sys
import time

import numpy as np
import pytest

from bfs_model.errors import IntegrityError
from bfs_model.integrity import verify

pytestmark = pytest.mark.soak

NUM_KILLS = 150
WRITER = """
import itertools, sys
from pathlib import Path
from bfs_model import integrity
final = Path(sys.argv[1])
print("ready", flush=True)
for number in itertools.count():
    staging = integrity.staging_for(final)
    for part in range(5):
        (staging / f"part-{part}.bin").write_bytes(bytes([number % 256]) * 50_000)
    integrity.commit(staging, final, "dataset", {"number": number})
"""


def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path, bare_env) -> None:
    """After each kill the directory is whole and of one generation, or absent with a whole predecessor beside it."""
    final = tmp_path / "dataset"
    numbers = set()
    for kill in range(NUM_KILLS):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(final)], env=bare_env, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(float(np.random.default_rng([7, kill]).uniform(0.02, 0.2)))
        writer.kill()
        writer.communicate(timeout=30)
        where = final if final.exists() else max(tmp_path.glob(".dataset.*.replaced"), key=lambda path: path.stat().st_mtime)
        number = verify(where, "dataset")["body"]["number"]
        assert {path.read_bytes()[0] for path in where.glob("part-*.bin")} == {number % 256}
        numbers.add(number)
    assert len(numbers) > 5, "the writer was always killed at the same place"
    for partial in tmp_path.glob(".dataset.*.partial"):
        if not (partial / "manifest.json").exists():
            with pytest.raises(IntegrityError, match="has no manifest"):
                verify(partial)
