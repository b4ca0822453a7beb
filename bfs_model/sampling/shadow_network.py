"""The shadow generation network (paper §4.1): Flux as a Control-LoRA that draws the shadow of an object into a picture.

Channels, prompt, ranks and guidance are those of kkang831/InpaintingLayerFlux (`train_control_lora_flux_AAA.py`,
`pipeline_ours_AAA.py`: read as facts). Beside the noisy latent the transformer sees, concatenated before packing, the latent
of the picture without shadow, the latent of the object alone (the rest black), and the object's mask in every channel. What
is trained is a LoRA, the embedding of those channels included; it is stored as diffusers names it.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.latent import draws, encoding, flow, latents
from bfs_model.network.shadow import OPAQUE, layer_from_white
from bfs_model.picture.compositing import composite
from bfs_model.shapes import Float
from bfs_model.weight import bundle

KIND = "shadow_network"
PROMPT = "Realistic image with natural shadow"
LORA_FILE, PROMPT_FILE = "pytorch_lora_weights.safetensors", "prompt.safetensors"
_PREFIX = "transformer."
_NUM_CONTROLS = 3  # the picture without shadow, the object, its mask
_TARGETS = [
    "x_embedder",
    *[f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")],
    *[f"{name}.net.{part}" for name in ("ff", "ff_context") for part in ("0.proj", "2")],
]
# Parts of a base that drawing shadows does not need.
_UNUSED = ("rgba_vae", "sharing", "compositor", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


@dataclass(frozen=True)
class ShadowSettings:
    """What a shadow network is told apart from its weights: LoRA rank, embedded guidance and number of steps."""

    rank: int = 256
    guidance: float = 3.5
    num_steps: int = 28


def control_transformer(base: FluxTransformer2DModel, rank: int) -> FluxTransformer2DModel:
    """A frozen Flux transformer that takes the three controls beside the noisy latent, with a fresh LoRA.

    Of Flux-Fill, whose embedding sees background and mask as well, the columns of the noisy latent are kept. Those of the
    controls start at 0 and so does the LoRA: at first the controls change nothing. All other weights are those of `base` themselves,
    which is to stay as it is: a second copy of FLUX's would take 24 GB.
    """
    noisy = base.config.out_channels or base.config.in_channels
    config = {**base.config, "in_channels": (1 + _NUM_CONTROLS) * noisy, "out_channels": noisy}
    with torch.device("meta"):
        widened = FluxTransformer2DModel.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    state = dict(base.state_dict())
    embedding = state["x_embedder.weight"][:, :noisy]
    state["x_embedder.weight"] = torch.cat([embedding, embedding.new_zeros(len(embedding), _NUM_CONTROLS * noisy)], dim=1)
    widened.load_state_dict(state, assign=True)
    widened.requires_grad_(False)
    widened.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=_TARGETS))
    for parameter in widened.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return widened


def control_latents(
    vae: Any, picture: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch channels rows columns"]:
    """What the network is shown: latents of the picture without shadow and of its object alone, and the mask in every channel.

    Args: `picture` in [-1, 1]; `mask` in [0, 1], 1 on the object. Returns 3 × the VAE's latent channels.
    """
    alone = torch.where(mask < OPAQUE, -1.0, picture)
    shown = [encoding.encode_images(vae, images)[0] for images in (picture, alone)]
    small = F.interpolate(mask.to(shown[0]), shown[0].shape[-2:], mode="nearest")
    return torch.cat([*shown, small.expand_as(shown[0])], dim=1)


def velocity(
    transformer: Any,
    x: Float[Tensor, "batch latent_channels rows columns"],
    controls: Float[Tensor, "batch channels rows columns"],
    sigma: Float[Tensor, " batch"],
    prompt: tuple[Tensor, Tensor],
    guidance: float | int,
) -> Float[Tensor, "batch latent_channels rows columns"]:
    """Velocity (Flux's sign) of the picture with shadow; `prompt` holds T5's [1, L, D] and CLIP's [1, P] embeddings."""
    height, width = x.shape[-2:]
    tokens, pooled = (part.to(x.device).expand(len(x), *part.shape[1:]) for part in prompt)
    dtype = transformer.proj_out.weight.dtype  # of the frozen base, where the LoRA is kept in another precision
    out = transformer(
        hidden_states=torch.cat([latents.pack(x), latents.pack(controls)], dim=-1).to(dtype),
        encoder_hidden_states=tokens.to(dtype),
        pooled_projections=pooled.to(dtype),
        timestep=sigma,
        guidance=torch.full_like(sigma, guidance) if transformer.config.guidance_embeds else None,
        img_ids=latents.image_ids(height, width, x.device),
        txt_ids=latents.text_ids(tokens.shape[1], x.device),
        return_dict=False,
    )[0]
    return latents.unpack(out.float(), height, width)


class LearnedShadow:
    """A `ShadowProvider`: draws the object over white, with its shadow, and reads the layer off that picture."""

    def __init__(self, transformer: Any, vae: Any, scheduler: Any, prompt: tuple[Tensor, Tensor], settings: ShadowSettings) -> None:
        self.transformer, self.vae, self.scheduler = transformer.eval(), vae.eval(), scheduler
        self.prompt, self.settings = prompt, settings

    @classmethod
    def load(cls, folder: str | Path, num_steps: int | None = None, device: str | torch.device = "cpu") -> "LearnedShadow":
        """Load a trained network and the base that it points to; every file is checked.

        Raises: `BadInput` or `IntegrityError` when either is missing, damaged, or another than the one trained on.
        """
        from bfs_model.sampling.pipeline import BFSPipeline

        path, manifest = located(folder)
        body = manifest["body"]
        settings = ShadowSettings(body["rank"], body["guidance"], num_steps or body["num_steps"])
        unused: dict[str, Any] = dict.fromkeys(_UNUSED)
        pipe = BFSPipeline.from_pretrained(bundle.base_of(path, manifest), **unused)
        transformer = control_transformer(pipe.transformer, settings.rank)
        _load_lora(transformer, load_file(path / LORA_FILE), path)
        embeds = load_file(path / PROMPT_FILE)
        prompt = embeds["prompt_embeds"], embeds["pooled_embeds"]
        return cls(transformer.to(device), pipe.vae.to(device), pipe.scheduler, prompt, settings)

    @torch.no_grad()
    def add_shadow(self, layer: np.ndarray, seed: int) -> np.ndarray:
        """Return `layer` (float [H, W, 4], the object alone) with the shadow that the network draws; without object as it is.

        Any size: what is missing to whole tokens is filled with nothing and cut off again.
        """
        layer = layer.astype(np.float32)
        if not (layer[..., 3] > OPAQUE).any():
            return layer
        height, width = layer.shape[:2]
        cell = 2 * encoding.spatial_factor(self.vae)
        padded = np.pad(layer, ((0, -height % cell), (0, -width % cell), (0, 0)))
        white = composite(padded, np.ones((*padded.shape[:2], 3), np.float32))
        mask = torch.from_numpy((padded[..., 3] > OPAQUE).astype(np.float32))[None, None]
        z = self.draw(encoding.to_tensor(white)[None], mask, [seed])
        drawn, same = (encoding.to_image(encoding.decode_latents(self.vae, latent))[0] for latent in (z, self._free(white)))
        # What the VAE itself gets wrong about the picture without shadow is no shadow.
        image = np.clip(drawn + white - same, 0, 1)
        return layer_from_white(image, padded)[:height, :width]

    @torch.no_grad()
    def draw(
        self, picture: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch 1 height width"], seeds: list[int]
    ) -> Float[Tensor, "batch latent_channels rows columns"]:
        """Latents of pictures with shadow, of pictures without ([-1, 1]) and their object masks; noise by seed alone."""
        controls = control_latents(self.vae, picture, mask)
        channels, (height, width) = controls.shape[1] // _NUM_CONTROLS, controls.shape[-2:]
        x = draws.normal([(seed, "shadow") for seed in seeds], (channels, height, width)).to(controls)
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        steps = self.settings.num_steps
        mu = flow.time_shift(height * width // 4) if scheduler.config.use_dynamic_shifting else None
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu, device=x.device)
        for step, t in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[step].expand(len(x)).to(x)
            change = velocity(self.transformer, x, controls, sigma, self.prompt, self.settings.guidance)
            x = scheduler.step(change, t, x, return_dict=False)[0]
        return x

    def _free(self, white: np.ndarray) -> Tensor:
        return encoding.encode_images(self.vae, encoding.to_tensor(white)[None])[0]


@lru_cache(maxsize=1)
def cached(folder: str, num_steps: int | None, device: str) -> LearnedShadow:
    """`LearnedShadow.load`, once per process."""
    return LearnedShadow.load(folder, num_steps, device)


def located(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a shadow network (or of the run that trained it) and its manifest, with every file checked, its base too.

    Raises: `BadInput` when there is none.
    """
    path = Path(folder).expanduser()
    for inside in (path / KIND, path):
        if (inside / integrity.MANIFEST).exists():
            manifest = integrity.verify(inside, KIND)
            bundle.base_of(inside, manifest)
            return inside, manifest
    raise BadInput("shadow", folder, "holds no shadow network", "train one with jobs/train_shadow.py")


def save(
    state: dict[str, Tensor], prompt: tuple[Tensor, Tensor], settings: ShadowSettings, base: str, directory: Path, facts: dict[str, Any]
) -> Path:
    """Write a network: LoRA (names as in `lora_state`), the embedded prompt, and the pointer to its base. Returns its manifest."""
    with integrity.staged(directory, KIND) as staging:
        save_file({f"{_PREFIX}{name}": value.contiguous() for name, value in state.items()}, staging / LORA_FILE)
        embeds = {"prompt_embeds": prompt[0], "pooled_embeds": prompt[1]}
        save_file({name: value.float().cpu().contiguous() for name, value in embeds.items()}, staging / PROMPT_FILE)
        body: dict[str, Any] = {"rank": settings.rank, "guidance": settings.guidance, "num_steps": settings.num_steps, "prompt": PROMPT}
        body["base"] = {"name": base, "content_hash": bundle.content_hash(base)}
        return integrity.commit(staging, directory, KIND, {**body, **facts})


def lora_state(transformer: Any) -> dict[str, Tensor]:
    """The LoRA of a control transformer, as diffusers names it: `x_embedder.lora_A.weight` …"""
    return dict(get_peft_model_state_dict(transformer))


def _load_lora(transformer: Any, stored: dict[str, Tensor], path: Path) -> None:
    state = {name.removeprefix(_PREFIX): value for name, value in stored.items()}
    own = {name: value.shape for name, value in lora_state(transformer).items()}
    if own != {name: value.shape for name, value in state.items()}:
        raise BadInput("shadow", path, "does not fit the transformer of its base", "train it again on this base")
    set_peft_model_state_dict(transformer, state)
