"""A bundle and both training sets, small: random weights, drawn pictures, real encoders."""

from pathlib import Path

import numpy as np
import pytest

from bfs_model import integrity
from bfs_model.boxes import Box
from bfs_model.compositing import composite_u8, pad_rgb
from bfs_model.tiny import TEST, random_bundle
from bfs_platform.data.encode import Encoder
from bfs_platform.data.shard_file import pixel_table, shard_name, write_shard
from bfs_platform.data.spec import EncodeSpec
from bfs_platform.data.stages.compose import Sample

NUM_RECORDS = 11


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle whose information sharing is stirred, so that every term has a gradient."""
    return random_bundle(tmp_path_factory.mktemp("base") / "bundle")


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[int, Path]:
    """A stage-1 and a stage-2 set of drawn squares, by stage."""
    root = tmp_path_factory.mktemp("sets")
    return {stage: _write(root / f"stage{stage}", stage, base) for stage in (1, 2)}


def _write(directory: Path, stage: int, base: Path) -> Path:
    table, shapes = Encoder(EncodeSpec(), str(base)).encode(pixel_table([_sample(i, stage) for i in range(NUM_RECORDS)]))
    staging = integrity.staging_for(directory)
    write_shard(table, staging / shard_name(0))
    body = {"stage": stage, "num_records": NUM_RECORDS, "encoded": True, "base": {"name": str(base)}, "sources": [], **shapes}
    integrity.commit(staging, directory, "dataset", body | {"shards": [{"path": shard_name(0), "num_records": NUM_RECORDS}]})
    return directory


def _sample(index: int, stage: int) -> Sample:
    rng = np.random.default_rng([stage, index])
    size = TEST.window_size
    background = np.broadcast_to(rng.integers(0, 256, (1, 1, 3), np.uint8), (size, size, 3)).copy()
    box = Box(5 + index % 3, 7, 19, 23)
    layer = np.zeros((size, size, 4), np.uint8)
    layer[box.y0 : box.y1, box.x0 : box.x1] = (*rng.integers(0, 256, 3, np.uint8), 255)
    mask = layer[..., 3].copy()
    pictures = {"composite": composite_u8(layer, background), "background": background, "foreground": pad_rgb(layer)}
    return Sample(
        id=f"{stage}-{index}", caption="a red cube", box=box, object_mask=mask, effect_mask=None, tight_box=box, hash=index, **pictures
    )
