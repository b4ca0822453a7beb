"""Small training runs for tests: a bundle of random weights, two sets of drawn squares, and what a worker is told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from bfs_model import integrity
from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import composite_u8, pad_rgb
from bfs_model.tiny.components import TEST, random_bundle
from bfs_platform.config import resolve
from bfs_platform.data.execute.encode import Encoder
from bfs_platform.data.shard.file import pixel_table, shard_name, write_shard
from bfs_platform.data.spec import EncodeSpec
from bfs_platform.data.stage.compose import Sample
from bfs_platform.train.spec import TrainSpec

NUM_RECORDS = 11
NAMES = {1: "synthetic", 2: "natural"}
# A recipe made short. The rate is high, so that four steps move the weights far beyond rounding.
SHORT = (
    "num_steps=4",
    "batch_size=4",
    "micro_batch_size=2",
    "checkpoint.every_steps=2",
    "sample_every_steps=0",
    "log_every_steps=1",
    "optimizer.lr=1e-2",
    "optimizer.warmup_steps=0",
)


def write_base(directory: Path) -> Path:
    """An untrained bundle."""
    return random_bundle(directory)


def write_set(directory: Path, stage: int, base: Path, *sizes: int) -> Path:
    """A training set of one stage: pictures of `sizes` pixels, a shard of each, encoded by `base`."""
    encoder, staging, shards, shapes = Encoder(EncodeSpec(), str(base)), integrity.staging_for(directory), [], {}
    for number, size in enumerate(sizes or (TEST.window_size,)):
        samples = [_sample(number * NUM_RECORDS + i, stage, size) for i in range(NUM_RECORDS)]
        table, shapes = encoder.encode(pixel_table(samples))
        write_shard(table, staging / shard_name(number))
        shards.append({"path": shard_name(number), "num_records": NUM_RECORDS})
    facts = {"stage": stage, "num_records": NUM_RECORDS * len(shards), "encoded": True, "base": {"name": str(base)}, "sources": []}
    integrity.commit(staging, directory, "dataset", {**facts, **shapes, "shards": shards})
    return directory


def config(output: Path, recipe: str, base: Path, datasets: dict[int, Path], changes: Sequence[str] = ()) -> dict[str, Any]:
    """What `run_worker` is told for a short run of `recipe`."""
    spec = resolve(recipe, [*SHORT, *changes], TrainSpec)
    output.mkdir(parents=True, exist_ok=True)
    return {
        "spec": spec.model_dump(mode="json"),
        "recipe": recipe,
        "base": str(base),
        "datasets": {NAMES[stage]: str(path) for stage, path in datasets.items()},
        "output": str(output),
        "facts": {"training": {}},
        "tracking": None,
    }


def weights_of(manifest: Path, part: str = "sharing") -> dict[str, torch.Tensor]:
    """Trained weights of one part of a result."""
    return load_file(manifest.parent / part / "diffusion_pytorch_model.safetensors")


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """The largest absolute difference of two sets of weights; 0 only when every bit agrees."""
    assert one.keys() == two.keys()
    largest = max(float((one[k].double() - two[k].double()).abs().max()) for k in one)
    assert largest > 0 or all(torch.equal(one[k], two[k]) for k in one)
    return largest


def distance(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """The root mean square difference of two sets of weights, trained in float32 with sums in different orders.

    AdamW gives an almost vanishing gradient the full rate: on some processor single weights lie a rate apart, all do not.
    """
    assert one.keys() == two.keys()
    squared = torch.cat([(one[k].double() - two[k].double()).square().flatten() for k in one])
    return float(squared.mean().sqrt())


def losses_of(output: Path) -> list[dict[str, Any]]:
    """The lines of a run's loss file."""
    return [json.loads(line) for line in (output / "losses.jsonl").read_text(encoding="utf-8").splitlines()]


def _sample(index: int, stage: int, size: int) -> Sample:
    rng = np.random.default_rng([stage, index])
    background = np.broadcast_to(rng.integers(0, 256, (1, 1, 3), np.uint8), (size, size, 3)).copy()
    box = Box(5 + index % 3, 7, 19, 23)
    layer = np.zeros((size, size, 4), np.uint8)
    layer[box.y0 : box.y1, box.x0 : box.x1] = (*rng.integers(0, 256, 3, np.uint8), 255)
    mask = layer[..., 3].copy()
    pictures = {"composite": composite_u8(layer, background), "background": background, "foreground": pad_rgb(layer)}
    return Sample(
        id=f"{stage}-{index}", caption="a red cube", box=box, object_mask=mask, effect_mask=None, tight_box=box, hash=index, **pictures
    )
