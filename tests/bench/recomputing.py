"""The plain reference of information sharing, to measure the fast path against: projects again, one LoRA and one direction at a time."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from torch import Tensor

from bfs_model.network.dual_branch import DualBranch
from bfs_model.network.sharing import SharingBlock


class RecomputingProcessor:
    """Self-attention by diffusers' own processor; then Eq. 2–5 as written, with projections of its own."""

    def __init__(self, block: SharingBlock) -> None:
        self.own, self.block = FluxAttnProcessor(), block

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        num_text_tokens: int = 0,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As `SharingProcessor`."""
        assert image_rotary_emb is not None
        out = self.own(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        text = 0 if encoder_hidden_states is not None else num_text_tokens
        rotary = (image_rotary_emb[0][num_text_tokens:], image_rotary_emb[1][num_text_tokens:])
        comp, fg = hidden_states[:, text:].chunk(2)
        of_comp, of_fg = self._project(attn, comp, 0, rotary), self._project(attn, fg, 1, rotary)
        msg_f2c, msg_c2f = _message(of_comp, of_fg), _message(of_fg, of_comp)
        delta = self.block.mixer(torch.cat([msg_f2c, msg_c2f]))
        if encoder_hidden_states is not None:
            return out[0] + delta, out[1]
        return out + F.pad(delta, (0, 0, text, 0))

    def _project(self, attn: Any, features: Tensor, branch: int, rotary: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Q, K, V of one branch, each projection and each LoRA for itself."""
        lora, heads = self.block.lora, []
        for i, projection in enumerate((attn.to_q, attn.to_k, attn.to_v)):
            down = lora.down[branch, :, i * lora.rank : (i + 1) * lora.rank]
            heads.append((projection(features) + lora.scale * (features @ down) @ lora.up[branch, i]).unflatten(-1, (-1, attn.head_dim)))
        query, key, value = heads
        query, key = attn.norm_q(query), attn.norm_k(key)
        return [apply_rotary_emb(query, rotary, sequence_dim=1), apply_rotary_emb(key, rotary, sequence_dim=1), value]


def _message(receiver: list[Tensor], sender: list[Tensor]) -> Tensor:
    query, key, value = (t.transpose(1, 2) for t in (receiver[0], sender[1], sender[2]))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def use_recomputing(dual: DualBranch) -> DualBranch:
    """Replace the processors of a dual branch by the plain reference. `eject` still restores the backbone."""
    blocks: Any = dual.sharing.blocks
    names = sorted(dual.transformer.attn_processors, key=lambda n: (n.startswith("single"), int(n.split(".")[1])))
    dual.transformer.set_attn_processor({n: RecomputingProcessor(b) for n, b in zip(names, blocks, strict=True)})
    return dual
