"""What a fresh bundle takes over from a trained one of another size: what both have in common need not be learned twice."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from bfs_model.errors import BadInput


def grow(components: dict[str, Any], other: Any) -> tuple[str, ...]:
    """Give fresh `components` (of `random_components`) what fits of `other`, a `BFSPipeline`.

    Of the VAE the layers next to the pixels; of the transformer everything but what reads and writes latents; the sharing weights
    whole, where the blocks are alike; of the text encoders everything, and of their embeddings the tokens that both know.
    Returns the names of the components that are `other`'s as a whole. Raises: `BadInput` when the VAEs have no layer in common.
    """
    take_outer_layers(components["vae"], other.vae)
    take_equal_layers(components["transformer"], other.transformer)
    for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        take_equal_layers(components[encoder], getattr(other, encoder))
        _take_tokens(components[encoder], components[tokenizer], getattr(other, encoder), getattr(other, tokenizer))
    own = components["sharing"].config
    if any(own[size] != other.sharing.config[size] for size in ("dim", "head_dim", "num_blocks")):
        return ()
    components["sharing"] = other.sharing
    return ("sharing",)


def take_outer_layers(vae: Any, other: Any) -> None:
    """Give `vae` the layers of `other`, an `AutoencoderKL` of fewer levels, that are as far from the pixels and as wide.

    Levels are counted from the pixels: in the encoder as they are numbered, in the decoder from the last one back.
    Raises: `BadInput` when no layer fits.
    """
    more = len(vae.config.block_out_channels) - len(other.config.block_out_channels)
    theirs, own = other.state_dict(), vae.state_dict()
    fitting = {}
    for name, value in own.items():
        level = re.match(r"(decoder\.up_blocks\.)(\d+)(\..*)", name)
        there = name if level is None else f"{level[1]}{int(level[2]) - more}{level[3]}"
        if there in theirs and theirs[there].shape == value.shape:
            fitting[name] = theirs[there].to(value)
    if more < 0 or not fitting:
        rule = "has a VAE of more levels, or of other widths"
        raise BadInput("network.grown_from", other.config.block_out_channels, rule, "name a bundle of the same family, or leave it out")
    vae.load_state_dict(own | fitting)


def take_equal_layers(module: nn.Module, other: nn.Module) -> None:
    """Give `module` every weight of `other` that has the same name and the same shape."""
    theirs, own = other.state_dict(), module.state_dict()
    module.load_state_dict(own | {n: theirs[n].to(v) for n, v in own.items() if n in theirs and theirs[n].shape == v.shape})


@torch.no_grad()
def _take_tokens(encoder: Any, tokenizer: Any, other: Any, other_tokenizer: Any) -> None:
    own: Tensor = encoder.get_input_embeddings().weight
    theirs: Tensor = other.get_input_embeddings().weight
    there = other_tokenizer.get_vocab()
    for token, row in tokenizer.get_vocab().items():
        if token in there:
            own[row] = theirs[there[token]].to(own)
