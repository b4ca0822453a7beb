"""The dual branch: a frozen Flux transformer that carries the composite and the foreground through shared weights."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bfs_model.errors import BadInput
from bfs_model.latent.latents import text_ids
from bfs_model.network.modulation import answer_for_both
from bfs_model.network.sharing import InformationSharing, SharingBlock, SharingProcessor
from bfs_model.shapes import Float


class DualBranch(nn.Module):
    """Paper §3: two parallel passes of one backbone, connected by information sharing.

    `inject` puts sharing processors on the transformer, `eject` restores its own; ejecting is bitwise. Only the
    parameters of `sharing` are trainable.
    """

    def __init__(self, transformer: FluxTransformer2DModel, sharing: InformationSharing, message_scale: float = 1.0) -> None:
        super().__init__()
        num_blocks = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
        if sharing.config["num_blocks"] != num_blocks:
            raise BadInput(
                "sharing",
                sharing.config["num_blocks"],
                f"blocks do not fit a transformer of {num_blocks}",
                "use weights trained for this base",
            )
        self.transformer = transformer.requires_grad_(False)
        self.sharing = sharing
        self.message_scale = message_scale
        self._own_processors: dict[str, Any] | None = None
        self._handles: list[RemovableHandle] = []
        self.inject()

    def inject(self) -> None:
        """Put a sharing processor on every attention of the transformer, with the attention backend chosen before."""
        if self._own_processors is not None:
            return
        self._own_processors = dict(self.transformer.attn_processors)
        names = [n for kind in ("transformer_blocks.", "single_transformer_blocks.") for n in self._own_processors if n.startswith(kind)]
        names.sort(key=lambda n: (n.startswith("single"), int(n.split(".")[1])))
        processors = {
            n: SharingProcessor(cast(SharingBlock, b), self.message_scale) for n, b in zip(names, self.sharing.blocks, strict=True)
        }
        for name, processor in processors.items():
            _carry_backend(self._own_processors[name], processor)
        self.transformer.set_attn_processor(processors)
        self._handles = answer_for_both(self.transformer)

    def eject(self) -> FluxTransformer2DModel:
        """Take the sharing processors off and return the transformer as it was."""
        if self._own_processors is not None:
            for name, processor in self.transformer.attn_processors.items():
                _carry_backend(processor, self._own_processors[name])
            self.transformer.set_attn_processor(self._own_processors)
            self._own_processors = None
            for handle in self._handles:
                handle.remove()
        return self.transformer

    def forward(
        self,
        x: Float[Tensor, "pair tokens channels"],
        condition: Float[Tensor, "batch tokens features"],
        sigma: Float[Tensor, " batch"],
        prompt_embeds: Float[Tensor, "batch text text_dim"],
        pooled_embeds: Float[Tensor, "batch pooled"],
        img_ids: Float[Tensor, "tokens 3"],
        guidance: float = 1.0,
        text_bias: Float[Tensor, "batch text"] | None = None,
    ) -> Float[Tensor, "pair tokens channels"]:
        """Velocities (Flux's sign) of both branches, computed in the precision of the transformer, returned in that of `x`.

        Args:
            x: packed noisy latents `[comp …, fg …]`, so pair = 2·batch.
            condition: packed background latent and mask (`latents.condition`), the same for both branches, as are
                the text embeddings; sigma: noise level per sample; guidance: embedded when the backbone is distilled.
            text_bias: added to every attention score of a text token: log(w) makes the token count w times, −∞ leaves it out.
        Raises: `BadInput` when the transformer splits its tokens over ranks.
        """
        if (parallel := getattr(self.transformer, "_parallel_config", None)) is not None and parallel.context_parallel_config is not None:
            rule = "splits tokens over ranks, and the branches' messages would be of the tokens of one rank alone"
            raise BadInput("parallel_config", "context_parallel_config", rule, "leave it out; gradient checkpointing saves memory")
        given, dtype = x.dtype, self.transformer.dtype
        x = x.to(dtype)
        condition, prompt_embeds = (torch.cat([t, t]).to(dtype) for t in (condition, prompt_embeds))
        embedded = torch.full_like(sigma, guidance) if self.transformer.config.guidance_embeds else None
        num_text_tokens = prompt_embeds.shape[1]
        kwargs: dict[str, Any] = {"num_text_tokens": num_text_tokens}
        if text_bias is not None:
            kwargs["attention_mask"] = F.pad(torch.cat([text_bias, text_bias]), (0, x.shape[1])).to(dtype)[:, None, None]
        velocity = self.transformer(
            hidden_states=torch.cat([x, condition], dim=-1),
            encoder_hidden_states=prompt_embeds,
            pooled_projections=pooled_embeds.to(dtype),
            timestep=sigma,
            img_ids=img_ids,
            txt_ids=text_ids(num_text_tokens, x.device, img_ids.dtype),
            guidance=embedded,
            joint_attention_kwargs=kwargs,
            return_dict=False,
        )[0]
        return velocity.to(given)


def _carry_backend(source: Any, target: Any) -> None:
    """Give a processor the attention backend and the parallel plan that were chosen for the one it replaces."""
    for name in ("_attention_backend", "_parallel_config"):
        setattr(target, name, getattr(source, name, None))
