"""Eq. 2–5: the fast path against plain restatements of the formulas, and the dual branch against plain Flux."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_model.latent.latents import image_ids, text_ids
from bfs_model.network.dual_branch import DualBranch
from bfs_model.network.sharing import DirectionalLora, InformationSharing, Mixer, cross_attention
from bfs_model.tiny.components import TEST, random_components

BATCH, TOKENS, HEADS, HEAD = 2, 5, 3, 7
DIM = HEADS * HEAD


def test_eq_2_softmax_by_hand() -> None:
    """One attention call over rolled keys equals two explicit softmax attentions, one per direction."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2 * BATCH, TOKENS, HEADS, HEAD)

    def explicit(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / HEAD**0.5
        return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)

    msg_f2c = explicit(q[:BATCH], k[BATCH:], v[BATCH:])
    msg_c2f = explicit(q[BATCH:], k[:BATCH], v[:BATCH])
    torch.testing.assert_close(cross_attention(q, k, v, None), torch.cat([msg_f2c, msg_c2f]), atol=1e-6, rtol=1e-5)


def test_eq_3_equals_merged_weights() -> None:
    """H·W + delta equals H·(W + ΔW) with the branch's own ΔW, for Q, K and V of both branches."""
    torch.manual_seed(0)
    rank = 4
    lora = DirectionalLora(DIM, rank, scale=0.5)
    torch.nn.init.normal_(lora.up)
    h, base = torch.randn(2 * BATCH, TOKENS, DIM), torch.randn(3, DIM, DIM)
    deltas = lora(h)
    for i, total in enumerate(lora(h, [h @ w for w in base])):
        torch.testing.assert_close(total, h @ base[i] + deltas[i], atol=1e-5, rtol=1e-5)
    for branch, rows in enumerate((slice(0, BATCH), slice(BATCH, None))):
        for i in range(3):
            down = lora.down[branch, :, i * rank : (i + 1) * rank]
            merged = base[i] + 0.5 * down @ lora.up[branch, i]
            torch.testing.assert_close(h[rows] @ base[i] + deltas[i][rows], h[rows] @ merged, atol=1e-4, rtol=1e-4)


def test_eq_4_concatenates_and_splits() -> None:
    """g sees both messages of a token side by side and returns ΔH^C and ΔH^F; a fresh g returns zeros."""
    torch.manual_seed(0)
    messages = torch.randn(2 * BATCH, TOKENS, DIM)
    for kind in ("mlp", "shared"):
        assert not Mixer(DIM, kind, 11)(messages).any()
    g = Mixer(DIM, "mlp", 11)
    torch.nn.init.normal_(g.out.weight)
    together = torch.cat([messages[:BATCH], messages[BATCH:]], dim=-1)
    first, second = g.inner[0], g.out
    expected = F.linear(F.silu(F.linear(together, first.weight, first.bias)), second.weight, second.bias)
    torch.testing.assert_close(g(messages), torch.cat([expected[..., :DIM], expected[..., DIM:]]))


def _inputs(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    tensors = {"x": torch.randn(4, 12, 64), "condition": torch.randn(2, 12, 128), "sigma": torch.tensor([0.3, 0.9])}
    return tensors | {"prompt_embeds": torch.randn(2, 5, 64), "pooled_embeds": torch.randn(2, 64), "img_ids": image_ids(6, 8)}


def _flux(transformer: torch.nn.Module, i: dict[str, Tensor], half: int) -> Tensor:
    """One plain Flux-Fill pass of one branch."""
    return transformer(
        hidden_states=torch.cat([i["x"].chunk(2)[half], i["condition"]], -1),
        encoder_hidden_states=i["prompt_embeds"],
        pooled_projections=i["pooled_embeds"],
        timestep=i["sigma"],
        img_ids=i["img_ids"],
        txt_ids=text_ids(5),
        return_dict=False,
    )[0]


def _stirred(sharing: InformationSharing) -> InformationSharing:
    torch.manual_seed(5)
    for block in sharing.blocks:
        torch.nn.init.normal_(block.lora.up, std=0.3)
        torch.nn.init.normal_(block.mixer.out.weight, std=0.3)
    return sharing


@torch.no_grad()
def test_fresh_sharing_is_two_plain_flux_passes_and_ejecting_is_bitwise() -> None:
    """Eq. 5 at initialisation: two independent Flux-Fill passes; ejecting restores the backbone bitwise.

    In double precision, since a batch of two passes may be summed in another order than two batches. diffusers turns queries
    and keys in float32, so that what little they differ can round them apart: 1e-6.
    """
    parts, inputs = random_components(TEST), {name: tensor.double() for name, tensor in _inputs().items()}
    parts["transformer"].double()
    parts["sharing"].double()
    before = torch.cat([_flux(parts["transformer"], inputs, 0), _flux(parts["transformer"], inputs, 1)])
    keys = list(parts["transformer"].state_dict())
    dual = DualBranch(parts["transformer"], parts["sharing"])
    assert (dual(**inputs) - before).abs().max() < 1e-6
    _stirred(parts["sharing"])
    assert (dual(**inputs) - before).abs().max() > 1e-2
    dual.eject()
    after = torch.cat([_flux(parts["transformer"], inputs, 0), _flux(parts["transformer"], inputs, 1)])
    assert torch.equal(before, after) and keys == list(parts["transformer"].state_dict())
    dual.inject()
    assert (dual(**inputs) - before).abs().max() > 1e-2


@torch.no_grad()
def test_messages_cross_and_batch_entries_do_not_mix() -> None:
    """A change of the foreground moves the composite branch of the same entry, and no other entry."""
    parts, inputs = random_components(TEST), _inputs()
    dual = DualBranch(parts["transformer"], _stirred(parts["sharing"]))
    changed = inputs | {"x": inputs["x"].clone()}
    changed["x"][2] += 1.0  # the foreground of entry 0
    moved = (dual(**inputs) - dual(**changed)).abs().amax(dim=(1, 2))
    assert moved[0] > 1e-3 and moved[2] > 1e-3
    assert moved[1] < 1e-6 and moved[3] < 1e-6


def test_exactly_the_sharing_weights_are_trainable_and_get_gradients() -> None:
    """Only LoRAs and g are trainable; with a stirred g every one of them gets a gradient, checkpointed or not."""
    parts, inputs = random_components(TEST), _inputs()
    dual = DualBranch(parts["transformer"], _stirred(parts["sharing"]))
    names = {n for n, p in dual.named_parameters() if p.requires_grad}
    assert names == {n for n, _ in dual.named_parameters() if n.startswith("sharing.")}
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            dual.transformer.enable_gradient_checkpointing()
        dual.zero_grad()
        dual(**inputs).square().mean().backward()
        gradients.append([p.grad.clone() for p in dual.sharing.parameters()])
    assert all(g.abs().sum() > 0 for g in gradients[0])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-6, rtol=1e-4)


def test_foreign_sharing_weights_are_refused() -> None:
    """Sharing weights for another number of blocks do not fit, and unknown mixers do not exist."""
    parts = random_components(TEST)
    with pytest.raises(BadInput, match="blocks do not fit"):
        DualBranch(parts["transformer"], InformationSharing(num_blocks=7, dim=32, head_dim=16))
    with pytest.raises(BadInput, match="mixer=attention"):
        InformationSharing(num_blocks=1, dim=32, head_dim=16, mixer="attention")
