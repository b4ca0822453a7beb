"""Weights in the format of the authors' released code, random, for the geometry of the tests and of the tiny FLUX folders."""

import torch
from torch import Tensor

RANK, DIM = 3, 32
BLOCKS = ("transformer_blocks.0", "single_transformer_blocks.0", "single_transformer_blocks.1")


def random_release(prefix: str = "", seed: int = 0) -> dict[str, Tensor]:
    """A file of trained weights, none of them zero."""
    torch.manual_seed(seed)
    state = {}
    for block in BLOCKS:
        for name in ("to_q", "to_k", "to_v", *(("to_out.0",) if block.startswith("transformer") else ())):
            for branch in ("xy", "yx"):
                state[f"{prefix}{block}.attn1n.{name}.lora_A.{branch}_lora.weight"] = torch.randn(RANK, DIM) * 0.3
                state[f"{prefix}{block}.attn1n.{name}.lora_B.{branch}_lora.weight"] = torch.randn(DIM, RANK) * 0.3
        state[f"{prefix}{block}.conv1n.weight"] = torch.randn(DIM, DIM) * 0.3
    return state
