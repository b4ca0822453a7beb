"""A folder in FLUX.1-Fill's layout with its real widths, few blocks and random weights: what a full-size run is rehearsed on.

Widths, heads, channels and lengths of text are the published ones (`black-forest-labs/FLUX.1-Fill-dev`, its config.json files), so that
whatever depends on them is met; only depth and vocabularies are small. Nobody's weights, and so under nobody's licence.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from bfs_model.network import text
from bfs_model.tiny.components import CAPTIONS
from bfs_model.weight.loading import no_progress_bars

VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "norm_num_groups": 32,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
TRANSFORMER: dict[str, Any] = {
    "in_channels": 384,
    "out_channels": 64,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
_CLIP = {"hidden_size": 768, "intermediate_size": 3072, "projection_dim": 768, "num_attention_heads": 12, "max_position_embeddings": 77}
_T5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64, "feed_forward_proj": "gated-gelu", "pad_token_id": 0, "eos_token_id": 1}
NUM_DOUBLE, NUM_SINGLE = 19, 38


def wide_flux_fill(directory: Path, num_double: int = 1, num_single: int = 1, seed: int = 0) -> Path:
    """Write such a folder in bfloat16, as the real one is stored, and return it. With one block of each kind 0.8 billion numbers."""
    clip_tokens, t5_tokens = text.clip_tokenizer(CAPTIONS, 77), text.t5_tokenizer(CAPTIONS, 512)
    ends = {"bos_token_id": clip_tokens.bos_token_id, "eos_token_id": clip_tokens.eos_token_id, "pad_token_id": clip_tokens.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks: dict[str, Any] = {
            "vae": AutoencoderKL(**VAE),
            "transformer": FluxTransformer2DModel(**TRANSFORMER, num_layers=num_double, num_single_layers=num_single),
            "text_encoder": CLIPTextModel(CLIPTextConfig(vocab_size=len(clip_tokens), num_hidden_layers=1, **_CLIP, **ends)),
            "text_encoder_2": T5EncoderModel(T5Config(vocab_size=len(t5_tokens), num_layers=1, **_T5)),
        }
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, shift=3.0)
    parts = {name: network.to(torch.bfloat16).eval() for name, network in networks.items()}
    with no_progress_bars():
        pipe = FluxFillPipeline(**parts, tokenizer=clip_tokens, tokenizer_2=t5_tokens, scheduler=scheduler)
        pipe.save_pretrained(directory, safe_serialization=True)
    return directory
