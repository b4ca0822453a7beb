"""Drawing from a picture: preparation, tokens, and a balance between text and picture that acts."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPriorReduxPipeline
from PIL import Image
from rounding import PASS, SAMPLING
from torch import Tensor

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.network import sharing
from bfs_model.sampling import reference
from bfs_model.tiny.components import TEST, random_bundle
from bfs_model.tiny.flux_fill import random_redux
from bfs_model.weight import licence

BOX = (5, 7, 19, 23)
BACKGROUND = np.random.default_rng(0).random((32, 32, 3), np.float32)
NUM_TEXT, NUM_IMAGE = TEST.text_tokens, 81


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle without a reference encoder."""
    return random_bundle(tmp_path_factory.mktemp("bundles") / "random")


@pytest.fixture(scope="module")
def redux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in FLUX.1-Redux's layout."""
    return random_redux(tmp_path_factory.mktemp("redux") / "redux", TEST.text_dim)


@pytest.fixture
def pipe(folder: Path, redux: Path) -> BFSPipeline:
    """A pipeline with a reference encoder."""
    loaded = BFSPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    loaded.load_reference_encoder(redux, accept_flux_licence=True)
    return loaded


def picture(seed: int = 0) -> Image.Image:
    """A square of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8))


def drawn(pipe: BFSPipeline, prompt: Any = "", **settings: Any) -> Tensor:
    """The foreground's final latent."""
    return pipe(BACKGROUND, BOX, prompt, seed=3, num_inference_steps=2, output_type="latent", **settings).foregrounds[0]


def test_without_an_encoder_the_remedy_is_named(folder: Path) -> None:
    """A model without Redux says what it lacks and how to get it."""
    plain = BFSPipeline.from_pretrained(folder)
    with pytest.raises(BadInput, match=r"needs a reference encoder, which this model has not; load one with pipe\.load_reference_encoder"):
        plain(BACKGROUND, BOX, reference=picture(), num_inference_steps=2)


def test_redux_is_behind_the_licence_and_must_fit(folder: Path, redux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate of FLUX; an encoder for other text tokens; a folder that is none."""
    monkeypatch.delenv(licence.ACCEPT_VARIABLE, raising=False)
    plain = BFSPipeline.from_pretrained(folder)
    with pytest.raises(BadInput, match="Non-Commercial"):
        plain.load_reference_encoder(redux)
    with pytest.raises(BadInput, match="makes tokens of 48 numbers, this backbone reads 64"):
        plain.load_reference_encoder(random_redux(tmp_path / "other", 48), accept_flux_licence=True)
    with pytest.raises(BadInput, match="holds no reference encoder"):
        plain.load_reference_encoder(folder)


@torch.no_grad()
def test_tokens_are_those_of_diffusers_one_picture_at_a_time(pipe: BFSPipeline, redux: Path) -> None:
    """Each picture's tokens equal `FluxPriorReduxPipeline`'s, which sums over a batch, for that picture alone."""
    pictures = [picture(0), picture(1)]
    ours = reference.encode(pipe, pictures)
    assert ours.shape == (2, NUM_IMAGE, TEST.text_dim)
    prior = FluxPriorReduxPipeline.from_pretrained(str(redux), local_files_only=True)
    for one, tokens in zip(pictures, ours, strict=True):
        theirs = prior.image_embedder(prior.encode_image([one], "cpu", 1)).image_embeds
        torch.testing.assert_close(tokens, theirs[0], atol=PASS, rtol=0)


def test_a_batch_equals_single_calls(pipe: BFSPipeline) -> None:
    """Two references in one call give what two calls give: nothing is summed over the batch."""
    pictures = [picture(0), picture(1)]
    both = pipe(BACKGROUND, BOX, reference=pictures, seed=[3, 3], num_inference_steps=2, output_type="latent").foregrounds
    alone = [drawn(pipe, reference=p) for p in pictures]
    for together, single in zip(both, alone, strict=True):
        torch.testing.assert_close(together, single, atol=SAMPLING, rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_in_a_batch_each_image_decides_whether_its_text_counts(pipe: BFSPipeline) -> None:
    """One image with a prompt and one without give what two calls give: the empty text of the one is not read."""
    prompts = ["a cube", ""]
    for cache in ("none", "first_block"):
        given = {"reference": [picture()] * 2, "seed": [3, 3], "num_inference_steps": 2, "step_cache": cache}
        both = pipe(BACKGROUND, BOX, prompts, output_type="latent", **given).foregrounds
        for together, prompt in zip(both, prompts, strict=True):
            torch.testing.assert_close(together, drawn(pipe, prompt, reference=picture(), step_cache=cache), atol=SAMPLING, rtol=0)
    assert (drawn(pipe, reference=picture()) - drawn(pipe, reference=picture(), text_weight=1)).abs().max() > 1e-3


def test_a_reference_replaces_the_text_unless_there_is_a_prompt(pipe: BFSPipeline) -> None:
    """Without a prompt only the picture's tokens are read; with one, both; a weight of 0 leaves either out."""
    seen = []
    for prompts, balance in (
        ([""], reference.Balance()),
        (["a cube"], reference.Balance()),
        (["a cube"], reference.Balance(text=0)),
        (["a cube"], reference.Balance(image=0)),
        (["a cube"], reference.Balance(text=2, image=0.5, num_tokens=9)),
        (["a cube"], reference.Balance(image=1e39)),
    ):
        found = reference.conditions(pipe, prompts, [picture()], balance)
        seen.append((found.tokens.shape[1], None if found.bias is None else [round(float(b), 3) for b in found.bias.unique()]))
    counts = [NUM_IMAGE, NUM_TEXT + NUM_IMAGE, NUM_IMAGE, NUM_TEXT, NUM_TEXT + 9, NUM_TEXT + NUM_IMAGE]
    assert [count for count, _ in seen] == counts
    assert [bias for _, bias in seen] == [None, None, None, None, [-0.693, 0.693], [0.0, 89.801]]
    text_only = pipe(BACKGROUND, BOX, "a cube", seed=3, num_inference_steps=2, output_type="latent").foregrounds[0]
    assert torch.equal(drawn(pipe, "a cube", reference=picture(), image_weight=0), text_only)


def _share_of_image_tokens(pipe: BFSPipeline, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> float:
    """The attention that tokens of the picture get from the latents in the first block of the first step."""
    shares: list[float] = []
    attend = sharing.dispatch_attention_fn

    def watch(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **more: Any) -> Tensor:
        if key.shape[1] > 16 and not shares:  # not the exchange between the branches, which is among latents
            scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
            weights = (scores if attn_mask is None else scores + attn_mask).softmax(-1)
            num_image = key.shape[1] - NUM_TEXT - 16
            shares.append(float(weights[:, :, -16:, NUM_TEXT : NUM_TEXT + num_image].sum(-1).mean()))
        return attend(query, key, value, attn_mask=attn_mask, **more)

    with monkeypatch.context() as patch:
        patch.setattr(sharing, "dispatch_attention_fn", watch)
        drawn(pipe, "a cube", reference=picture(), **settings)
    return shares[0]


def test_weights_and_counts_move_the_attention_monotonically(pipe: BFSPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture's share of attention grows with image_weight and with its tokens, and falls with text_weight."""
    of_weight = [_share_of_image_tokens(pipe, monkeypatch, image_weight=w) for w in (0.1, 0.5, 1, 2, 10)]
    of_text = [_share_of_image_tokens(pipe, monkeypatch, text_weight=w) for w in (10, 2, 1, 0.5, 0.1)]
    of_count = [_share_of_image_tokens(pipe, monkeypatch, reference_tokens=n) for n in (1, 9, 25, 81)]
    for shares in (of_weight, of_text, of_count):
        assert all(low < high for low, high in pairwise(shares)), shares
    assert of_weight[0] < 0.6 * of_weight[2] and of_count[0] < 0.2 * of_count[-1]


def test_a_weight_of_two_is_the_picture_twice(pipe: BFSPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """image_weight=2 draws what a sequence with every image token twice draws, to 1e-4."""
    weighted = drawn(pipe, "a cube", reference=picture(), image_weight=2)
    once = reference.encode
    monkeypatch.setattr(reference, "encode", lambda p, pictures: once(p, pictures).repeat(1, 2, 1))
    torch.testing.assert_close(drawn(pipe, "a cube", reference=picture()), weighted, atol=1e-4, rtol=1e-3)


def test_the_layer_goes_from_the_text_to_the_picture(pipe: BFSPipeline) -> None:
    """With growing image_weight the drawing leaves the one by text alone, step by step."""
    text_only = drawn(pipe, "a cube")
    distances = [float((drawn(pipe, "a cube", reference=picture(), image_weight=w) - text_only).norm()) for w in (0.01, 0.1, 1)]
    assert distances[0] < distances[1] < distances[2]


def test_pooling_averages_blocks(pipe: BFSPipeline) -> None:
    """81 tokens to 9: each is the mean of a 3 × 3 block; anything but a square number of at most 81 is refused."""
    grid = torch.arange(81.0).view(1, 81, 1)
    pooled = reference.pool(grid, 9)[0, :, 0]
    assert pooled[0] == torch.tensor([0.0, 1, 2, 9, 10, 11, 18, 19, 20]).mean() and pooled[5] - pooled[4] == 3
    assert reference.pool(grid, None) is grid
    for count in (0, 2, 100, -4):
        with pytest.raises(BadInput, match="is not a square number from 1 to 81; for example 81, 9, 1"):
            reference.pool(grid, count)


def test_the_object_is_cut_out_on_white() -> None:
    """Mask or alpha → white around the object, a square 1.3 times its longer side, the object in the middle."""
    pixels = np.full((60, 90, 3), (10, 200, 30), np.uint8)
    pixels[20:40, 50:60] = (200, 0, 0)
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 50:60] = 255
    by_mask = np.asarray(reference.prepare(pixels, Image.fromarray(mask)))
    by_alpha = np.asarray(reference.prepare(Image.fromarray(np.dstack([pixels, mask]))))
    assert by_mask.shape == (26, 26, 3) and np.array_equal(by_mask, by_alpha)
    red = np.argwhere((by_mask == (200, 0, 0)).all(-1))
    assert len(red) == 200 and tuple(red.min(0)) == (3, 8) and tuple(red.max(0)) == (22, 17)
    assert ((by_mask == 255).all(-1) | (by_mask == (200, 0, 0)).all(-1)).all()
    whole = np.asarray(reference.prepare(pixels))
    assert whole.shape == (90, 90, 3) and (whole[:15] == 255).all() and np.array_equal(whole[15:75], pixels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference_mask": np.zeros((3, 4, 3), np.uint8)}, "reference_mask=4x3 is not as large as the reference, 40x40"),
        ({"reference_mask": np.zeros((40, 40, 3), np.uint8)}, "shows nothing"),
        ({"reference": None, "reference_mask": np.zeros((40, 40, 3), np.uint8)}, "is given without a reference"),
        ({"reference": b"GIF89a"}, "reference="),
        ({"reference": np.zeros((1, 9000, 3), np.uint8)}, "reference=9000x1 would lie on a square of 9000 pixels"),
        ({"reference": [picture(), picture()], "prompt": ["x"]}, "do not fit 1 images"),
        ({"reference_tokens": 4.0}, "reference_tokens=4.0 is not a square number"),
        ({"image_weight": -1}, "image_weight=-1 is not a weight"),
        ({"text_weight": float("nan")}, "text_weight=nan is not a weight"),
        ({"image_weight": 0}, "leave nothing to go by"),
    ],
)
def test_bad_references_are_one_clear_line(pipe: BFSPipeline, settings: dict[str, Any], message: str) -> None:
    """Each kind of wrong argument names itself."""
    with pytest.raises(BadInput, match=message):
        pipe(BACKGROUND, BOX, num_inference_steps=2, **({"reference": picture()} | settings))


def test_a_bundle_can_carry_the_encoder(pipe: BFSPipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved with the pipeline it loads with it, under its licence, and can be taken over by another pipeline."""
    expected = drawn(pipe, reference=picture())
    pipe.save_pretrained(tmp_path / "bundle")
    monkeypatch.delenv(licence.ACCEPT_VARIABLE, raising=False)
    for load in (BFSPipeline.from_pretrained, BFSPipeline.from_pretrained(folder).load_reference_encoder):
        with pytest.raises(BadInput, match="Non-Commercial"):
            load(tmp_path / "bundle")
    monkeypatch.setenv(licence.ACCEPT_VARIABLE, "1")
    loaded = BFSPipeline.from_pretrained(tmp_path / "bundle", dtype="bf16")
    assert loaded.image_encoder.dtype == torch.bfloat16
    other = BFSPipeline.from_pretrained(folder)
    other.set_progress_bar_config(disable=True)
    other.load_reference_encoder(tmp_path / "bundle")
    assert torch.equal(drawn(other, reference=picture()), expected)
