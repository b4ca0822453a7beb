"""Sizes of a dual branch in training: what its arithmetic and its memory follow from."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.train.network_spec import SharingSpec

_FLUX_COMPOSITOR = 7_400_000  # parameters of Φ at its default width and depth


@dataclass(frozen=True)
class Geometry:
    """A Flux transformer, the sharing weights on it, and the tokens of one sample.

    `image_tokens` are those of one branch; `in_channels` counts latents and condition; `sharing_hidden` is the mixer's bottleneck.
    """

    dim: int
    head_dim: int
    num_double: int
    num_single: int
    in_channels: int
    out_channels: int
    text_dim: int
    pooled_dim: int
    guidance: bool
    image_tokens: int
    text_tokens: int
    rank: int
    sharing_hidden: int
    mixer: str = "mlp"
    compositor_params: int = 0

    @property
    def num_blocks(self) -> int:
        return self.num_double + self.num_single

    @property
    def base_params(self) -> int:
        """Parameters of the frozen transformer."""
        d = self.dim
        norms = 2 * self.head_dim
        double = 2 * (4 * (d * d + d) + (d * 6 * d + 6 * d) + (8 * d * d + 5 * d) + norms)
        single = 3 * (d * d + d) + (4 * d * d + 4 * d) + (5 * d * d + d) + (3 * d * d + 3 * d) + norms
        embedders = (2 if self.guidance else 1) * (256 * d + d + d * d + d) + (self.pooled_dim * d + d + d * d + d)
        ends = self.in_channels * d + d + self.text_dim * d + d + (d * 2 * d + 2 * d) + (d * self.out_channels + self.out_channels)
        return self.num_double * double + self.num_single * single + embedders + ends

    @property
    def block_weights(self) -> int:
        """Of these, the matrices inside the blocks: what is rounded where the base is quantised."""
        return (36 * self.num_double + 15 * self.num_single) * self.dim**2

    @property
    def whole_params(self) -> int:
        """Frozen parameters beside the transformer that stay float32: Φ's."""
        return self.compositor_params

    @property
    def trainable_params(self) -> int:
        """Parameters of the sharing weights."""
        d, h = self.dim, self.sharing_hidden
        mixer = (2 * d * h + h) + (h * 2 * d + 2 * d) if self.mixer == "mlp" else d * d
        return self.num_blocks * (12 * d * self.rank + mixer)

    @property
    def trainable_tensors(self) -> int:
        """Number of tensors that an optimizer step touches: DeepSpeed pays for each of them."""
        return self.num_blocks * (2 + (4 if self.mixer == "mlp" else 1))


def flux(resolution: int, settings: SharingSpec) -> Geometry:
    """FLUX.1-Fill at `resolution` pixels square, with the sharing weights that `settings` ask for."""
    if resolution % 16 or resolution < 16:
        raise BadInput("resolution", resolution, "is not a multiple of 16", "use 512 or 1024")
    fill = Geometry(
        dim=3072,
        head_dim=128,
        num_double=19,
        num_single=38,
        in_channels=384,
        out_channels=64,
        text_dim=4096,
        pooled_dim=768,
        guidance=True,
        image_tokens=(resolution // 16) ** 2,
        text_tokens=512,
        rank=settings.rank,
        sharing_hidden=settings.mixer_hidden or 3072 // 4,
        compositor_params=_FLUX_COMPOSITOR,
    )
    return replace(fill, mixer=settings.mixer)


def of_configs(transformer: Any, sharing: Any, image_tokens: int, text_tokens: int, compositor_params: int = 0) -> Geometry:
    """The geometry of configurations as diffusers keeps them."""
    head_dim = transformer["attention_head_dim"]
    return Geometry(
        dim=head_dim * transformer["num_attention_heads"],
        head_dim=head_dim,
        num_double=transformer["num_layers"],
        num_single=transformer["num_single_layers"],
        in_channels=transformer["in_channels"],
        out_channels=transformer["out_channels"] or transformer["in_channels"],
        text_dim=transformer["joint_attention_dim"],
        pooled_dim=transformer["pooled_projection_dim"],
        guidance=bool(transformer["guidance_embeds"]),
        image_tokens=image_tokens,
        text_tokens=text_tokens,
        rank=sharing["rank"],
        sharing_hidden=sharing["mixer_hidden"],
        mixer=sharing["mixer"],
        compositor_params=compositor_params,
    )


def of_bundle(folder: Path, settings: SharingSpec, resolution: int | None = None) -> Geometry:
    """The geometry of a bundle, read from its configurations alone; fresh sharing weights have the shape that `settings` ask for."""
    read = {part: json.loads((folder / part / "config.json").read_text(encoding="utf-8")) for part in ("transformer", "sharing", "vae")}
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    size = resolution or int(index["window_size"])
    factor = 2 ** (len(read["vae"]["block_out_channels"]) - 1)
    tokens = json.loads((folder / "tokenizer_2" / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length", 512)
    made = of_configs(read["transformer"], read["sharing"], (size // factor // 2) ** 2, int(tokens))
    if settings.init == "fresh":
        hidden = settings.mixer_hidden or made.dim // 4
        made = replace(made, rank=settings.rank, mixer=settings.mixer, sharing_hidden=hidden)
    return made
