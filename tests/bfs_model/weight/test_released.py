"""Weights in the format of the authors' released code: read, refused, and numerically what that architecture computes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from released_weights import DIM, RANK
from released_weights import random_release as random_state
from safetensors.torch import save_file
from torch import Tensor

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_model.latent.latents import image_ids, text_ids
from bfs_model.network.dual_branch import DualBranch
from bfs_model.tiny.components import TEST, random_bundle, random_components
from bfs_model.weight import bundle, released

NUM_TEXT = 5
State = dict[str, Tensor]


# A plain restatement of the released architecture: every block carries a second attention of its own, projected anew.


def _rotated(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of [B, S, heads, head_dim] on neighbouring pairs."""
    cos, sin = (part[None, :, None] for part in rope)
    even, odd = x[..., 0::2], x[..., 1::2]
    return x * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin


def _adapted(state: State, block: str, name: str, layer: Any, x: Tensor) -> Tensor:
    """A frozen projection plus xy_lora on the first half of the batch and yx_lora on the second; alpha equals rank."""
    out = []
    for half, branch in zip(x.chunk(2), ("xy", "yx"), strict=True):
        a, b = (state[f"{block}.attn1n.{name}.lora_{m}.{branch}_lora.weight"] for m in "AB")
        out.append(layer(half) + half @ a.T @ b.T)
    return torch.cat(out)


def _joint(state: State, block: str, attn: Any, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """The message to each branch: its queries over the other's keys, through the shared linear map."""
    q, k, v = (_adapted(state, block, n, getattr(attn, n), x).unflatten(-1, (-1, attn.head_dim)) for n in ("to_q", "to_k", "to_v"))
    q, k = _rotated(attn.norm_q(q), rope), _rotated(attn.norm_k(k), rope)
    k, v = (torch.cat(list(reversed(t.chunk(2)))) for t in (k, v))
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) * attn.head_dim**-0.5).softmax(-1)
    message = torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)
    if block.startswith("transformer"):
        message = _adapted(state, block, "to_out.0", attn.to_out[0], message)
    return message @ state[f"{block}.conv1n.weight"].T


def plain_release(transformer: Any, state: State, x: Tensor, i: dict[str, Tensor]) -> Tensor:
    """Velocities of [comp …, fg …], block by block."""
    twice = {name: torch.cat([i[name], i[name]]) for name in ("condition", "sigma", "prompt_embeds", "pooled_embeds")}
    h = transformer.x_embedder(torch.cat([x, twice["condition"]], -1))
    c = transformer.context_embedder(twice["prompt_embeds"])
    temb = transformer.time_text_embed(twice["sigma"] * 1000, twice["pooled_embeds"])
    rope = transformer.pos_embed(torch.cat([text_ids(NUM_TEXT), i["img_ids"]]))
    of_image = (rope[0][NUM_TEXT:], rope[1][NUM_TEXT:])
    for n, block in enumerate(transformer.transformer_blocks):
        seen, gate, shift, scale, gate_mlp = block.norm1(h, emb=temb)
        text, c_gate, c_shift, c_scale, c_gate_mlp = block.norm1_context(c, emb=temb)
        own, own_text = block.attn(seen, text, image_rotary_emb=rope)
        own = own + _joint(state, f"transformer_blocks.{n}", block.attn, seen, of_image)
        h = h + gate[:, None] * own
        h = h + gate_mlp[:, None] * block.ff(block.norm2(h) * (1 + scale[:, None]) + shift[:, None])
        c = c + c_gate[:, None] * own_text
        c = c + c_gate_mlp[:, None] * block.ff_context(block.norm2_context(c) * (1 + c_scale[:, None]) + c_shift[:, None])
    both = torch.cat([c, h], dim=1)
    for n, block in enumerate(transformer.single_transformer_blocks):
        seen, gate = block.norm(both, emb=temb)
        own = block.attn(seen, image_rotary_emb=rope) + _joint(state, f"single_transformer_blocks.{n}", block.attn, seen, rope)
        both = both + gate[:, None] * block.proj_out(torch.cat([own, F.gelu(block.proj_mlp(seen), approximate="tanh")], dim=2))
    return transformer.proj_out(transformer.norm_out(both[:, NUM_TEXT:], temb))


@torch.no_grad()
def test_converted_weights_compute_what_the_release_computes() -> None:
    """The converted sharing weights in our dual branch equal the restatement to 1e-5 in float32, keys with and without prefix."""
    transformer = random_components(TEST)["transformer"]
    torch.manual_seed(1)
    x = torch.randn(4, 12, 64)
    inputs = {"condition": torch.randn(2, 12, 128), "sigma": torch.tensor([0.3, 0.9]), "img_ids": image_ids(6, 8)}
    inputs |= {"prompt_embeds": torch.randn(2, NUM_TEXT, 64), "pooled_embeds": torch.randn(2, 64)}
    expected = plain_release(transformer, random_state(), x, inputs)
    sharing = released.sharing_of(random_state("module.transformer."), dict(transformer.config))
    dual = DualBranch(transformer, sharing)
    found = dual(x, **inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    dual.eject()
    silent = {key: torch.zeros_like(value) if "conv1n" in key else value for key, value in random_state().items()}
    without = released.sharing_of(silent, dict(transformer.config))
    assert (DualBranch(transformer, without)(x, **inputs) - expected).abs().max() > 1e-2


def test_detached_inputs_and_the_scale_are_those_of_the_release() -> None:
    """Gradients do not flow back through a block's joint input; alpha over rank scales the LoRAs."""
    config = dict(random_components(TEST)["transformer"].config)
    plain, doubled = (released.sharing_of(random_state(), config, alpha) for alpha in (None, 2.0 * RANK))
    assert plain.config["rank"] == RANK and plain.config["alpha"] == RANK and plain.blocks[0].detach
    h = torch.randn(2, 4, DIM)
    torch.testing.assert_close(doubled.blocks[0].lora(h), 2 * plain.blocks[0].lora(h))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle."""
    return random_bundle(tmp_path_factory.mktemp("bases") / "bundle")


def test_a_converted_model_loads_and_draws(base: Path, tmp_path: Path) -> None:
    """The model folder holds sharing weights and a pointer to its base, names the file's hash, and draws."""
    save_file(random_state(), tmp_path / "trained.safetensors")
    manifest = released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "model")
    body = bundle.verify(manifest.parent)["body"]
    assert body["base"]["content_hash"] == bundle.content_hash(base) and len(body["converted"]["sha256"]) == 64
    assert not (manifest.parent / "rgba_vae").exists()
    pipe = BFSPipeline.from_pretrained(tmp_path / "model")
    pipe.set_progress_bar_config(disable=True)
    first = pipe.sharing.blocks[0]
    assert torch.equal(first.mixer.out.weight, random_state()["transformer_blocks.0.conv1n.weight"]) and first.out_lora is not None
    assert pipe(np.zeros((32, 32, 3), np.float32), (4, 4, 20, 20), "x", seed=1, num_inference_steps=2).foregrounds[0].size == (32, 32)


def test_their_rgba_vae_comes_along(base: Path, tmp_path: Path) -> None:
    """A folder with four channels is taken, one with three refused."""
    save_file(random_state(), tmp_path / "trained.safetensors")
    manifest = released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "model", rgba_vae=base / "rgba_vae")
    assert (manifest.parent / "rgba_vae" / "config.json").exists()
    with pytest.raises(BadInput, match="has 3 channels"):
        released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "other", rgba_vae=base / "vae")
    with pytest.raises(BadInput, match=r"rgba_vae=.* is not readable"):
        released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "other", rgba_vae=tmp_path)
    for alpha in (float("nan"), 0.0):
        with pytest.raises(BadInput, match="is not a positive number"):
            released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "other", alpha=alpha)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is a file"):
        released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "file")
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"transformer_blocks.0.attn.to_q.weight": torch.zeros(2)}, "to_q.weight is not a key of the release"),
        (lambda s: {k: v for k, v in s.items() if k != "single_transformer_blocks.1.conv1n.weight"}, "block 2 lacks mixer"),
        (lambda s: s | {"transformer_blocks.0.conv1n.weight": torch.zeros(5, 5)}, r"mixer of shape \(5, 5\), not \(32, 32\)"),
        (lambda s: s | {"single_transformer_blocks.2.conv1n.weight": torch.zeros(32, 32)}, "names mixer of block 3, which the base"),
        (lambda s: s | {"transformer_blocks.1.conv1n.weight": torch.zeros(32, 32)}, "is of a block that this base, with 1, does not have"),
        (lambda s: {k: v for k, v in s.items() if "conv1n" in k}, "hold no LoRA of attn1n"),
        (lambda s: {k: torch.tensor(1.0) for k in s}, "is not a matrix of finite numbers"),
        (lambda s: {k: v / 0 for k, v in s.items()}, "is not a matrix of finite numbers"),
        (lambda s: s | {f"other.{k}": v for k, v in s.items()}, "is given twice, under two prefixes"),
    ],
    ids=["unknown", "missing", "shape", "too many single", "too many double", "no lora", "scalars", "not finite", "twice"],
)
def test_other_weights_are_refused(change: Any, message: str) -> None:
    """The first key that does not fit is named."""
    config = dict(random_components(TEST)["transformer"].config)
    with pytest.raises(BadInput, match=message):
        released.sharing_of(change(random_state()), config)


def test_nothing_is_unpickled(base: Path, tmp_path: Path) -> None:
    """A .pt file is refused with the way to convert it; so is one under another name, and a file that is not there."""
    torch.save(random_state(), tmp_path / "trained.pt")
    with pytest.raises(BadInput, match=r"pickles can run code; convert it .*weights_only=True"):
        released.convert(tmp_path / "trained.pt", str(base), tmp_path / "model")
    (tmp_path / "trained.pt").rename(tmp_path / "trained.safetensors")
    with pytest.raises(BadInput, match="is not readable as safetensors"):
        released.convert(tmp_path / "trained.safetensors", str(base), tmp_path / "model")
    with pytest.raises(BadInput, match="is not a file"):
        released.convert(tmp_path / "none.safetensors", str(base), tmp_path / "model")
    assert not (tmp_path / "model").exists()
