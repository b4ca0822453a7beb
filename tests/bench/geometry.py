"""Flux-Fill at full size and scaled down with all ratios of arithmetic kept; a dual branch of each, with random weights."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from bfs_model.latent.latents import image_ids
from bfs_model.network.dual_branch import DualBranch
from bfs_model.network.sharing import InformationSharing


@dataclass(frozen=True)
class Geometry:
    """Sizes of a Flux transformer and its input. `side`: image tokens along one side; g has a quarter of the width."""

    num_heads: int
    num_double: int
    num_single: int
    side: int
    num_text_tokens: int
    head_dim: int = 128
    in_channels: int = 384
    text_dim: int = 4096
    pooled_dim: int = 768
    rank: int = 16

    @property
    def dim(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def num_image_tokens(self) -> int:
        return self.side**2

    @property
    def num_blocks(self) -> int:
        return self.num_double + self.num_single


FLUX_FILL_512 = Geometry(num_heads=24, num_double=19, num_single=38, side=32, num_text_tokens=512)
FLUX_FILL_1024 = replace(FLUX_FILL_512, side=64)
# Width and tokens of the 512-pixel case divided by four: every ratio of floating point operations stays.
PROXY_512 = Geometry(num_heads=6, num_double=2, num_single=4, side=16, num_text_tokens=128)
SMALL = Geometry(
    num_heads=2, num_double=1, num_single=1, side=4, num_text_tokens=8, head_dim=16, in_channels=192, text_dim=32, pooled_dim=32
)
GEOMETRIES = {"flux-fill-512": FLUX_FILL_512, "flux-fill-1024": FLUX_FILL_1024, "proxy-512": PROXY_512, "small": SMALL}


def dual_branch(g: Geometry, device: str = "cpu", dtype: torch.dtype = torch.float32) -> DualBranch:
    """Random weights of this geometry, made on `device`; sharing is stirred, so that nothing in it is zero."""
    first = g.head_dim // 8 if g.head_dim >= 32 else 4
    axes = (first, (g.head_dim - first) // 2, (g.head_dim - first) // 2)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            transformer = FluxTransformer2DModel(
                in_channels=g.in_channels,
                out_channels=64,
                num_layers=g.num_double,
                num_single_layers=g.num_single,
                attention_head_dim=g.head_dim,
                num_attention_heads=g.num_heads,
                joint_attention_dim=g.text_dim,
                pooled_projection_dim=g.pooled_dim,
                guidance_embeds=True,
                axes_dims_rope=axes,
            )
            sharing = InformationSharing.for_transformer(transformer, rank=g.rank, alpha=float(g.rank))
            for block in sharing.blocks:
                torch.nn.init.normal_(block.lora.up, std=0.02)
                torch.nn.init.normal_(block.mixer.out.weight, std=0.02)
    finally:
        torch.set_default_dtype(before)
    return DualBranch(transformer.eval(), sharing)


def inputs(g: Geometry, batch: int = 1, device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Arguments of `DualBranch.forward` for `batch` pairs."""
    torch.manual_seed(1)
    like: dict[str, Any] = {"device": device, "dtype": dtype}
    tokens, features = g.num_image_tokens, g.in_channels - 64
    return {
        "x": torch.randn(2 * batch, tokens, 64, **like),
        "condition": torch.randn(batch, tokens, features, **like),
        "sigma": torch.full((batch,), 0.7, **like),
        "prompt_embeds": torch.randn(batch, g.num_text_tokens, g.text_dim, **like),
        "pooled_embeds": torch.randn(batch, g.pooled_dim, **like),
        "img_ids": image_ids(g.side * 2, g.side * 2).to(device),
    }


def same_weights(transformer: Any) -> Any:
    """Another transformer over the same storage: with processors of its own, and no second copy of the base."""
    with torch.device("meta"):
        other = FluxTransformer2DModel.from_config(transformer.config)
    other.load_state_dict(transformer.state_dict(), assign=True)
    return other.requires_grad_(False).eval()


def plain_pass(transformer: Any, given: dict[str, Tensor], branches: tuple[int, ...] = (0,)) -> Tensor:
    """A plain Flux-Fill pass over these branches, as one batch; `transformer` has its own processors."""
    x = torch.cat([given["x"].chunk(2)[b] for b in branches])
    names = ("condition", "prompt_embeds", "pooled_embeds", "sigma")
    condition, text, pooled, sigma = (torch.cat([given[name]] * len(branches)) for name in names)
    return transformer(
        hidden_states=torch.cat([x, condition], -1),
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=sigma,
        guidance=torch.full_like(sigma, 30.0),
        img_ids=given["img_ids"],
        txt_ids=torch.zeros(text.shape[1], 3, device=text.device),
        return_dict=False,
    )[0]
