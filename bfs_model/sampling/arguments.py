"""What callers hand to the pipeline, checked before anything is computed: settings, and the arguments of a call."""

import math
from typing import Any

import numpy as np
import torch

from bfs_model.document.layer import check_text, whole
from bfs_model.errors import BadInput
from bfs_model.latent import draws
from bfs_model.latent.encoding import spatial_factor
from bfs_model.picture import canvas
from bfs_model.picture.boxes import Box
from bfs_model.sampling.prompt_guidance import checked_scale

MAX_STEPS = 1000


def check_settings(vae: Any, window_size: Any, default_steps: Any, guidance_scale: Any, true_cfg_scale: Any, alpha_floor: Any) -> None:
    """Settings of a pipeline. Raises `BadInput` for the first that it could not draw with."""
    cell = 2 * spatial_factor(vae)
    if type(window_size) is not int or window_size < cell or window_size % cell:
        near = max(window_size // cell, 1) * cell if isinstance(window_size, int) else 512
        raise BadInput("window_size", window_size, f"is not a multiple of {cell}", f"use {near}")
    checked_steps(default_steps)
    checked_guidance(guidance_scale)
    checked_scale(true_cfg_scale)
    if not _finite(alpha_floor) or not 0 <= alpha_floor < 1:
        raise BadInput("alpha_floor", alpha_floor, "is not a number from 0 to below 1", "0.02 is small, 0 keeps all")


def checked_steps(steps: Any) -> int:
    """A number of sampling steps. Raises `BadInput`."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= MAX_STEPS:
        raise BadInput("steps", steps, f"is not a whole number from 1 to {MAX_STEPS}", "28 is a good choice")
    return int(steps)


def checked_guidance(scale: Any) -> float:
    """What a distilled backbone is told. Raises `BadInput`."""
    if not _finite(scale):
        raise BadInput("guidance_scale", scale, "is not a finite number", "30 suits FLUX.1-Fill")
    return float(scale)


def batch(background: Any, box: Any, prompt: Any) -> tuple[list[np.ndarray], list[Box], list[str]]:
    """Backgrounds as `canvas.pixels` gives them, boxes and prompts, as many of each; single ones serve all. Raises `BadInput`."""
    prompts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
    if not prompts or not all(isinstance(p, str) for p in prompts):
        raise BadInput("prompt", prompts, "is not text", "give one text per image")
    for text in prompts:
        check_text("prompt", text)
    backgrounds = list(background) if isinstance(background, list | tuple) else [background] * len(prompts)
    boxes = list(box) if isinstance(box, list | tuple) and box and not isinstance(box[0], int | float | np.number) else [box] * len(prompts)
    if not len(prompts) == len(backgrounds) == len(boxes):
        raise BadInput(
            "batch", (len(backgrounds), len(boxes), len(prompts)), "counts of backgrounds, boxes and prompts differ", "give equally many"
        )
    return [canvas.pixels(b, "background") for b in backgrounds], [Box.of(b) for b in boxes], prompts


def composites(composite: Any, images: list[np.ndarray]) -> list[np.ndarray]:
    """The finished pictures, one per background and of its size. Raises `BadInput`."""
    found = [canvas.pixels(c, "composite") for c in (composite if isinstance(composite, list | tuple) else [composite])]
    sizes, expected = ([f"{i.shape[1]}x{i.shape[0]}" for i in pictures] for pictures in (found, images))
    if sizes != expected:
        raise BadInput("composite", ", ".join(sizes), f"does not fit the background, {', '.join(expected)}", "give one each, of one size")
    return found


def generators(count: int, seed: Any, generator: Any) -> tuple[list[torch.Generator], list[int | None]]:
    """One generator per image, and the seeds that name them. Raises `BadInput`."""
    if generator is not None:
        given = list(generator) if isinstance(generator, list | tuple) else [generator]
        if len({id(g) for g in given}) != count or len(given) != count:
            raise BadInput("generator", len(given), f"generators for {count} images", "give one per image")
        return given, [g.initial_seed() for g in given]
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    seeds = (
        [whole("seed", s) for s in seed] if isinstance(seed, list | tuple | np.ndarray) else [whole("seed", seed) + i for i in range(count)]
    )
    if len(seeds) != count:
        raise BadInput("seed", seeds, f"are not {count} seeds", "give one per image")
    return [draws.generator("bfs", s) for s in seeds], list(seeds)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
