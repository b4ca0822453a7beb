"""Information sharing between the branches: Eq. 2–5, as an attention processor over diffusers' unmodified Flux.

Both places where sharing touches a Flux block coincide with the return value of its attention processor. The base
projections are those that the self-attention has just computed; sharing adds a low-rank delta on the same input.
Batch layout: `[comp …, fg …]`, the first half is the composite branch.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from bfs_model.errors import BadInput
from bfs_model.shapes import Float

COMP, FG = 0, 1
MIXERS = ("mlp", "shared")
Rotary = tuple[Tensor, Tensor]


class DirectionalLora(nn.Module):
    """Eq. 3. Low-rank deltas of Q, K, V, one set for the features of each branch, in two tensors.

    Eq. 3 names the adapters by direction: on features of the composite branch act ΔW_Q of F→C and ΔW_K, ΔW_V of C→F;
    on features of the foreground branch the opposite ones. `down[0]`, `up[0]` hold the former, index 1 the latter.
    """

    def __init__(self, dim: int, rank: int, scale: float, num_projections: int = 3) -> None:
        super().__init__()
        self.rank, self.scale, self.num_projections = rank, scale, num_projections
        self.down = nn.Parameter(torch.empty(2, dim, num_projections * rank))
        self.up = nn.Parameter(torch.zeros(2, num_projections, rank, dim))
        nn.init.uniform_(self.down, -(dim**-0.5), dim**-0.5)

    def forward(
        self, features: Float[Tensor, "pair tokens dim"], onto: Sequence[Float[Tensor, "pair tokens dim"]] | None = None
    ) -> Float[Tensor, "projections pair tokens dim"] | list[Float[Tensor, "pair tokens dim"]]:
        """H·ΔW of each projection (Q, K and V), in the precision of `features`, which is [comp …, fg …] along the first axis.

        With `onto`, which holds H·W of each, a list of the sums: they are made inside the products.
        """
        pair, tokens, dim = features.shape
        down, up = (self.down * self.scale).to(features.dtype), self.up.to(features.dtype)
        low = torch.bmm(features.reshape(2, -1, dim), down).view(2, -1, self.num_projections, self.rank)
        if onto is not None:
            sums = (torch.baddbmm(base.reshape(2, -1, dim), low[:, :, i], up[:, i]) for i, base in enumerate(onto))
            return [total.view(pair, tokens, dim) for total in sums]
        deltas = torch.matmul(low.transpose(1, 2), up)  # [branch, projection, batch·tokens, dim]
        return deltas.transpose(0, 1).reshape(self.num_projections, pair, tokens, dim)


class CastLinear(nn.Linear):
    """A linear map that computes in the precision of its input: weights stay float32 beside a backbone in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """x·Wᵀ + b."""
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Mixer(nn.Module):
    """Eq. 4. [ΔH^C, ΔH^F] = g(concat(msg_f2c, msg_c2f)); the last layer starts at zero, so sharing starts as nothing.

    `mlp`: a bottleneck over the concatenated messages. `shared`: one bias-free linear map applied to each message
    (the variant of the authors' released inference code).
    """

    def __init__(self, dim: int, kind: str, hidden: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "mlp":
            self.inner: nn.Module = nn.Sequential(CastLinear(2 * dim, hidden), nn.SiLU())
            self.out = CastLinear(hidden, 2 * dim)
            nn.init.zeros_(self.out.bias)
        else:
            self.inner, self.out = nn.Identity(), CastLinear(dim, dim, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, messages: Float[Tensor, "pair tokens dim"]) -> Float[Tensor, "pair tokens dim"]:
        """`messages` is [msg_f2c …, msg_c2f …] along the first axis; returns [ΔH^C …, ΔH^F …]."""
        if self.kind == "shared":
            return self.out(messages)
        mixed = self.out(self.inner(torch.cat(messages.chunk(2), dim=-1)))
        return torch.cat(mixed.chunk(2, dim=-1))


class SharingBlock(nn.Module):
    """What one Flux block gains: directional LoRAs (Eq. 3), two cross-attentions (Eq. 2) and the mixer g (Eq. 4).

    Two settings of the authors' released code: `project` sends messages through the frozen output projection, with a
    LoRA of its own, before g; `with_text` lets text tokens exchange messages too, where a block holds them.
    """

    def __init__(
        self,
        dim: int,
        head_dim: int,
        rank: int,
        scale: float,
        mixer: str,
        hidden: int,
        detach: bool,
        project: bool = False,
        with_text: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim, self.detach, self.with_text = head_dim, detach, with_text
        self.lora = DirectionalLora(dim, rank, scale)
        self.out_lora = DirectionalLora(dim, rank, scale, num_projections=1) if project else None
        self.mixer = Mixer(dim, mixer, hidden)

    def forward(
        self,
        features: Float[Tensor, "pair tokens dim"],
        base: tuple[Tensor, Tensor, Tensor],
        norms: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
        rotary: Rotary | None,
        backend: Any = None,
        out_projection: Callable[[Tensor], Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, "pair tokens dim"]:
        """Residuals [ΔH^C …, ΔH^F …] for the tokens given: those of the image, unless `with_text`.

        Args:
            features: H, what the self-attention projects, [comp …, fg …].
            base: H·W_Q, H·W_K, H·W_V as the self-attention computed them, before its QK norm.
            norms: the backbone's norms of queries and keys; rotary: (cos, sin) of these tokens.
            out_projection: the backbone's own, where the block has one; mask: bias of these keys.
        """
        if self.detach:
            features, base = features.detach(), (base[0].detach(), base[1].detach(), base[2].detach())
        query, key, value = (x.unflatten(-1, (-1, self.head_dim)) for x in self.lora(features, base))
        messages = cross_attention(norms[0](query), norms[1](key), value, rotary, backend, mask).flatten(2)
        if self.out_lora is not None:
            assert out_projection is not None, "only double-stream blocks project their messages"
            messages = out_projection(messages) + self.out_lora(messages)[0]
        return self.mixer(messages)


def cross_attention(
    query: Tensor, key: Tensor, value: Tensor, rotary: Rotary | None, backend: Any = None, mask: Tensor | None = None
) -> Float[Tensor, "pair tokens heads head_dim"]:
    """Eq. 2. Each branch queries the other; one attention call serves both directions.

    Args: query, key, value [2B, tokens, heads, head_dim] in the layout [comp …, fg …].
    Returns: [msg_f2c …, msg_c2f …].
    """
    if rotary is not None:
        query, key = apply_rotary_emb(query, rotary, sequence_dim=1), apply_rotary_emb(key, rotary, sequence_dim=1)
    other = query.shape[0] // 2
    return dispatch_attention_fn(query, key.roll(other, 0), value.roll(other, 0), attn_mask=mask, backend=backend)


class SharingProcessor:
    """Eq. 5. H̃ = SelfAttn(H) + ΔH, as the attention processor of one Flux block (double or single stream).

    A thin callable: it owns no parameters. `block` belongs to the dual-branch model and is called as a module, so that
    the hooks of ZeRO-3 gather its parameters.
    """

    _attention_backend: Any = None
    _parallel_config: Any = None

    def __init__(self, block: SharingBlock, scale: float = 1.0) -> None:
        self.block, self.scale = block, scale

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
        num_text_tokens: int = 0,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Self-attention as diffusers computes it, plus the residuals for the image tokens.

        Single-stream blocks hand over text and image tokens concatenated; `num_text_tokens` tells where images begin.
        `attention_mask` is a bias added to the scores of the keys, [.., .., .., text + image tokens].
        """
        base = (attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states))
        text = 0 if encoder_hidden_states is not None or self.block.with_text else num_text_tokens
        self_attention = self._self_attention(attn, base, encoder_hidden_states, attention_mask, image_rotary_emb)
        rotary = None
        whole = encoder_hidden_states is None and self.block.with_text
        if image_rotary_emb is not None:
            first = 0 if whole else num_text_tokens
            rotary = (image_rotary_emb[0][first:], image_rotary_emb[1][first:])
        seen = (base[0][:, text:], base[1][:, text:], base[2][:, text:])
        projection = attn.to_out[0] if encoder_hidden_states is not None else None
        delta = self.block(
            hidden_states[:, text:],
            seen,
            (attn.norm_q, attn.norm_k),
            rotary,
            self._attention_backend,
            projection,
            attention_mask if whole else None,
        )
        delta = delta * self.scale
        if encoder_hidden_states is None:
            return torch.cat([self_attention[:, :text], self_attention[:, text:] + delta], dim=1)
        context, image = self_attention.split([encoder_hidden_states.shape[1], hidden_states.shape[1]], dim=1)
        return attn.to_out[1](attn.to_out[0](image.contiguous())) + delta, attn.to_add_out(context.contiguous())

    def _self_attention(
        self, attn: Any, base: tuple[Tensor, ...], context: Tensor | None, mask: Tensor | None, rotary: Rotary | None
    ) -> Tensor:
        query, key, value = (x.unflatten(-1, (-1, attn.head_dim)) for x in base)
        query, key = attn.norm_q(query), attn.norm_k(key)
        if context is not None:
            text = (attn.add_q_proj(context), attn.add_k_proj(context), attn.add_v_proj(context))
            text_q, text_k, text_v = (x.unflatten(-1, (-1, attn.head_dim)) for x in text)
            query = torch.cat([attn.norm_added_q(text_q), query], dim=1)
            key = torch.cat([attn.norm_added_k(text_k), key], dim=1)
            value = torch.cat([text_v, value], dim=1)
        if rotary is not None:
            query, key = apply_rotary_emb(query, rotary, sequence_dim=1), apply_rotary_emb(key, rotary, sequence_dim=1)
        backend, parallel = self._attention_backend, self._parallel_config
        return (
            dispatch_attention_fn(query, key, value, attn_mask=mask, backend=backend, parallel_config=parallel).flatten(2).to(query.dtype)
        )


class InformationSharing(ModelMixin, ConfigMixin):
    """All trainable weights of BFS: one `SharingBlock` for every block of a Flux transformer.

    Args:
        num_blocks: double-stream blocks first, then single-stream ones.
        dim, head_dim: width of the transformer and of a head.
        rank, alpha: of the LoRAs; their scale is alpha / rank. The authors' release uses 4 and 4.
        mixer: `mlp` (Eq. 4) or `shared`; mixer_hidden: width of the MLP's bottleneck.
        detach_inputs: cut the gradient into the joint inputs, as the authors' release does.
        num_projected: of the first so many blocks, messages pass the frozen output projection and a LoRA of it.
        text_messages: text tokens exchange messages too, where a block holds them. Both as in the authors' release.
    """

    @register_to_config
    def __init__(
        self,
        num_blocks: int,
        dim: int,
        head_dim: int,
        rank: int = 16,
        alpha: float = 16.0,
        mixer: str = "mlp",
        mixer_hidden: int = 64,
        detach_inputs: bool = False,
        num_projected: int = 0,
        text_messages: bool = False,
    ) -> None:
        super().__init__()
        if mixer not in MIXERS:
            raise BadInput("mixer", mixer, "is unknown", f"use one of {', '.join(MIXERS)}")
        if rank < 1:
            raise BadInput("rank", rank, "is not positive", "use 4, 16 or 64")
        shape = (dim, head_dim, rank, alpha / rank, mixer, mixer_hidden, detach_inputs)
        self.blocks = nn.ModuleList(SharingBlock(*shape, i < num_projected, text_messages) for i in range(num_blocks))

    @classmethod
    def for_transformer(cls, transformer: Any, **settings: Any) -> "InformationSharing":
        """Fresh sharing weights that fit a `FluxTransformer2DModel`; the bottleneck is a quarter of its width by default."""
        config = transformer.config
        known = set(signature(cls.__init__).parameters) - {"self", "num_blocks", "dim", "head_dim", "num_projected"}
        for name in sorted(settings.keys() - known - {"num_projected"}):
            raise BadInput("sharing_settings", name, "is no setting of the sharing weights", f"use {', '.join(sorted(known))}")
        head_dim = config.attention_head_dim
        dim = head_dim * config.num_attention_heads
        settings.setdefault("mixer_hidden", dim // 4)
        return cls(num_blocks=config.num_layers + config.num_single_layers, dim=dim, head_dim=head_dim, **settings)
