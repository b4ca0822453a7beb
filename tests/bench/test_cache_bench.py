"""What step caches and fewer steps buy on the embedded default, beside what they change."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from measuring import Row, circumstances, interleaved, num_flops, table
from PIL import Image, ImageFilter

from bfs_model import BFSPipeline
from bfs_model.sampling.step_cache import FirstBlock, TaylorSeer

pytestmark = pytest.mark.bench
BOX = (18, 16, 44, 46)
PROMPTS = ("a large red matte cube", "a small blue glossy sphere")
ARMS: dict[str, dict[str, Any]] = {
    "first_block, threshold 0.05": {"step_cache": FirstBlock(0.05)},
    "first_block, threshold 0.1 (default)": {"step_cache": FirstBlock()},
    "first_block, threshold 0.2": {"step_cache": FirstBlock(0.2)},
    "taylorseer, interval 2": {"step_cache": TaylorSeer(interval=2)},
    "taylorseer, interval 3 (default)": {"step_cache": TaylorSeer()},
    "taylorseer, interval 5": {"step_cache": TaylorSeer(interval=5)},
    "14 steps": {"num_inference_steps": 14},
    "8 steps": {"num_inference_steps": 8},
    "8 steps, first_block": {"num_inference_steps": 8, "step_cache": FirstBlock()},
    "8 steps, taylorseer": {"num_inference_steps": 8, "step_cache": TaylorSeer()},
}


def _background() -> Image.Image:
    """A table of smooth noise: a wall, an edge, and a lit surface."""
    noise = np.random.default_rng(0).integers(90, 220, (64, 64, 3), np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(6))
    picture.paste((150, 135, 120), (0, 0, 64, 20))
    return picture


def _psnr(layers: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Of premultiplied RGBA, over all pictures together, in dB."""
    error = np.mean([np.square(_premultiplied(a) - _premultiplied(b)).mean() for a, b in zip(layers, others, strict=True)])
    return float("inf") if error == 0 else -10 * math.log10(error)


def _premultiplied(layer: np.ndarray) -> np.ndarray:
    return np.concatenate([layer[..., :3] * layer[..., 3:], layer[..., 3:]], axis=-1)


def test_step_caches(capsys) -> None:
    """Prints the speed-up of each setting beside the one of floating point operations, and its PSNR against 28 whole steps."""
    torch.set_num_threads(1)
    pipe = BFSPipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    background = _background()

    def drawing(**settings: Any) -> Callable[[], list[np.ndarray]]:
        settings = {"num_inference_steps": 28, "step_cache": "none", "output_type": "np"} | settings
        return lambda: [pipe(background, BOX, p, seed=i, **settings).foregrounds[0] for i, p in enumerate(PROMPTS)]

    arms = {"whole": drawing()} | {name: drawing(**settings) for name, settings in ARMS.items()}
    flops = {name: num_flops(arm) for name, arm in arms.items()}
    layers = {name: arm() for name, arm in arms.items()}
    seconds = interleaved(arms, rounds=2)
    rows = []
    for name in ARMS:
        psnr = _psnr(layers["whole"], layers[name])
        rows.append(Row(f"{name}: speed-up at {psnr:.1f} dB", seconds["whole"] / seconds[name], flops["whole"] / flops[name], unit="x"))
    with capsys.disabled():
        print(
            table(
                "Step caches, embedded default, 28 steps", rows, f"{circumstances()}; model {pipe.source}; text encoders and VAE included"
            )
        )
    assert all(_psnr(layers["whole"], layers[name]) > 25 for name in ARMS)
