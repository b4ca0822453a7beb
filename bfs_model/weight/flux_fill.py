"""FLUX.1-Fill as a base: its own parts as they are, and beside them the parts of BFS, fresh and ready to be trained."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from bfs_model.errors import BadInput
from bfs_model.latent.encoding import spatial_factor
from bfs_model.network.compositor import LatentCompositor
from bfs_model.network.rgba_vae import grow_rgba_vae
from bfs_model.network.sharing import InformationSharing
from bfs_model.weight import foreign

# The settings of the authors' released inference code, for `sharing_settings` and for reading their weights.
RELEASE: dict[str, Any] = {"rank": 4, "alpha": 4.0, "mixer": "shared", "detach_inputs": True, "text_messages": True}
WINDOW_SIZE = 512
_SEED = 0
_STORED = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def load_parts(
    path: Path, dtype: torch.dtype | None = None, sharing_settings: dict[str, Any] | None = None, given: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Every component of a `BFSPipeline` on top of a folder of FLUX.1-Fill; the licence was accepted.

    The RGBA VAE is grown from the VAE, the sharing weights start at nothing, Φ at the identity on the background.

    Args:
        dtype: precision of transformer and text encoders; as stored when None. VAEs and what BFS adds are float32.
        sharing_settings: for `InformationSharing.for_transformer`; `RELEASE` gives the authors' architecture.
        given: parts that are used as given instead of loaded (None leaves a part out).
    Raises: `BadInput` when a part is missing, is a pickle, or is not that of a Fill model.
    """
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

    foreign.check(path, foreign.FILL)
    classes: dict[str, Any] = {
        "scheduler": FlowMatchEulerDiscreteScheduler,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
        "text_encoder_2": T5EncoderModel,
        "tokenizer_2": T5TokenizerFast,
        "transformer": FluxTransformer2DModel,
    }
    parts = dict(given or {})
    for name, part_class in classes.items():
        if name not in parts:
            parts[name] = load_part(path / name, part_class, torch.float32 if name == "vae" else dtype)
    _add_bfs(parts, path, sharing_settings or {})
    return parts


def load_part(folder: Path, part_class: Any, dtype: torch.dtype | None) -> Any:
    """One part from its folder: a network in evaluation mode and in `dtype` (as stored when None), a tokenizer or a scheduler."""
    if not (foreign.PARTS[foreign.FILL] | foreign.PARTS[foreign.REDUX])[folder.name]:
        return part_class.from_pretrained(folder, local_files_only=True)
    dtype = dtype or _stored_dtype(folder)
    return part_class.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype).eval().requires_grad_(False)


def _add_bfs(parts: dict[str, Any], path: Path, sharing_settings: dict[str, Any]) -> None:
    vae, transformer = parts["vae"], parts["transformer"]
    if "rgba_vae" not in parts:
        parts["rgba_vae"] = grow_rgba_vae(vae).eval()
    if transformer is not None:
        _check_transformer(transformer, vae, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if "sharing" not in parts:
            parts["sharing"] = None if transformer is None else InformationSharing.for_transformer(transformer, **sharing_settings).eval()
        if "compositor" not in parts:
            parts["compositor"] = LatentCompositor(vae.config.latent_channels, presence=True).eval()


def _check_transformer(transformer: Any, vae: Any, path: Path) -> None:
    """Flux-Fill sees noise, background and mask: for FLUX.1-Fill 64 + 64 + 256 channels."""
    channels, factor = vae.config.latent_channels, spatial_factor(vae)
    expected, found = 4 * (2 * channels + factor * factor), transformer.config.in_channels
    if found != expected:
        rule = f"takes {found} channels, an inpainting transformer with this VAE takes {expected}"
        raise BadInput("model", path / "transformer", rule, "give a FLUX.1-Fill model")


def _stored_dtype(folder: Path) -> torch.dtype:
    """The precision of the first tensor of a part."""
    file = sorted(folder.glob("*.safetensors"))[0]
    try:
        with safe_open(file, framework="pt") as tensors:
            return _STORED.get(tensors.get_slice(next(iter(tensors.keys()))).get_dtype(), torch.float32)
    except (SafetensorError, StopIteration):
        raise BadInput("model", file, "is damaged", "fetch the model again") from None
