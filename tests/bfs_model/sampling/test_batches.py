"""A batch of different requests is what single calls give: property tests on drawn requests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rounding import SAMPLING

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_model.picture.window import Window
from bfs_model.sampling.arguments import generators
from bfs_model.tiny.components import TEST, random_components

WORDS = ("a", "small", "red", "glossy", "cube", "ball of wool", "Ω")


@dataclass(frozen=True)
class Request:
    """One image of a batch."""

    background: Image.Image
    box: tuple[int, int, int, int]
    prompt: str
    seed: int


@st.composite
def requests(draw: Any) -> Request:
    """A background of noise of any size, a box inside it, a prompt and a seed."""
    width, height, seed = draw(st.integers(9, 70)), draw(st.integers(9, 70)), draw(st.integers(0, 2**32 - 1))
    x0, y0 = draw(st.integers(0, width - 5)), draw(st.integers(0, height - 5))
    box = (x0, y0, draw(st.integers(x0 + 4, width)), draw(st.integers(y0 + 4, height)))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Request(Image.fromarray(pixels), box, " ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1))), seed)


@pytest.fixture(scope="module")
def pipe() -> BFSPipeline:
    """Untrained components with stirred sharing weights: the branches exchange messages."""
    parts = random_components(TEST)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for block in parts["sharing"].blocks:
            torch.nn.init.normal_(block.lora.up, std=0.3)
            torch.nn.init.normal_(block.mixer.out.weight, std=0.3)
    made = BFSPipeline(**parts, window_size=TEST.window_size)
    made.set_progress_bar_config(disable=True)
    return made


def _draw(pipe: BFSPipeline, batch: list[Request], output_type: str, by_generator: bool, steps: int = 2) -> Any:
    seeds = [r.seed for r in batch]
    chosen = {"generator": [torch.Generator().manual_seed(s) for s in seeds]} if by_generator else {"seed": seeds}
    columns = ([r.background for r in batch], [r.box for r in batch], [r.prompt for r in batch])
    return pipe(*columns, num_inference_steps=steps, output_type=output_type, **chosen)


@settings(max_examples=8, deadline=None)
@given(batch=st.lists(requests(), min_size=2, max_size=3), by_generator=st.booleans())
def test_a_batch_is_its_single_calls(pipe: BFSPipeline, batch: list[Request], by_generator: bool) -> None:
    """Seeds and the noise are the same bits; latents agree up to rounding: matrices of another height are summed in another order.

    The order of a batch does not matter either, nor does who stands beside an image.
    """
    together = _draw(pipe, batch, "latent", by_generator)
    backwards = _draw(pipe, batch[::-1], "latent", by_generator)
    for i, request in enumerate(batch):
        alone = _draw(pipe, [request], "latent", by_generator)
        assert together.seeds[i] == alone.seeds[0] == request.seed
        for branch in ("foregrounds", "composites"):
            expected = getattr(alone, branch)[0]
            torch.testing.assert_close(getattr(together, branch)[i], expected, atol=SAMPLING, rtol=0)
            torch.testing.assert_close(getattr(backwards, branch)[-1 - i], expected, atol=SAMPLING, rtol=0)


def test_the_noise_of_an_image_is_its_own(pipe: BFSPipeline) -> None:
    """What an image starts from is bitwise the same in any company."""
    windows = [Window.around(Box(3, 3, 20, 20), 32, 32, size=TEST.window_size)] * 3
    together = pipe._start(windows, generators(3, [5, 6, 7], None)[0], None)
    for i, seed in enumerate((5, 6, 7)):
        assert torch.equal(together[i], pipe._start(windows[:1], generators(1, [seed], None)[0], None)[0])


def test_one_generator_for_several_images_is_refused(pipe: BFSPipeline) -> None:
    """An image drawn from what another left of a generator could not be drawn again alone."""
    background = Image.new("RGB", (32, 32))
    with pytest.raises(BadInput, match="give one per image"):
        pipe([background] * 2, [(3, 3, 9, 9)] * 2, ["a", "b"], generator=torch.Generator().manual_seed(1), num_inference_steps=1)
    one = torch.Generator().manual_seed(1)
    with pytest.raises(BadInput, match="give one per image"):
        pipe([background] * 2, [(3, 3, 9, 9)] * 2, ["a", "b"], generator=[one, one], num_inference_steps=1)
