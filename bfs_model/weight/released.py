"""The weights that the authors' released code reads (kkang831/BFS_Release), in ours.

Its keys, after any prefix, for each block `transformer_blocks.N` (double stream) and `single_transformer_blocks.N`:

    BLOCK.attn1n.{to_q,to_k,to_v}.lora_{A,B}.{xy,yx}_lora.weight    A [rank, dim], B [dim, rank]
    BLOCK.attn1n.to_out.0.lora_{A,B}.{xy,yx}_lora.weight            double-stream blocks only
    BLOCK.conv1n.weight                                             [dim, dim], no bias, shared by both directions

`xy_lora` acts on features of the composite branch, `yx_lora` on those of the foreground branch: index 0 and 1 here.
"""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.network.sharing import InformationSharing
from bfs_model.weight import bundle
from bfs_model.weight.flux_fill import RELEASE

_KEY = re.compile(
    r"(?:.*\.)?(?P<kind>single_transformer_blocks|transformer_blocks)\.(?P<number>\d+)\."
    r"(?:conv1n\.weight|attn1n\.(?P<projection>to_q|to_k|to_v|to_out\.0)\.lora_(?P<matrix>[AB])\.(?P<branch>xy|yx)_lora\.weight)"
)
_PROJECTIONS = ("to_q", "to_k", "to_v")
_BRANCHES = ("xy", "yx")
_PICKLE_REMEDY = (
    'convert it on a machine you can spare: python -c "import sys, torch, safetensors.torch as s; '
    's.save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])" IN.pt OUT.safetensors'
)
Weights = dict[tuple[int, str], Tensor]


def convert(released: str | Path, base: str, output: Path, rgba_vae: str | Path | None = None, alpha: float | None = None) -> Path:
    """Write a model folder of released weights on top of `base` and return the path of its manifest.

    Args:
        released: the file of trained weights, as safetensors; base: a FLUX.1-Fill folder or hub id, or a bundle.
        rgba_vae: folder of their RGBA VAE in diffusers' layout, if it is at hand; otherwise the base's serves.
        alpha: of the LoRAs, which the file does not say; their rank, as in the release, when None.
    Raises: `BadInput` for a file that is no such file, or of another backbone.
    """
    if alpha is not None and not (math.isfinite(alpha) and alpha > 0):
        raise BadInput("alpha", alpha, "is not a positive number", "leave it out: the rank serves, as in the release")
    integrity.check_free(Path(output).absolute(), bundle.MODEL)
    config = _transformer_config(bundle.locate(base))
    sharing = sharing_of(read(released), config, alpha)
    vae = None if rgba_vae is None else _rgba_vae(rgba_vae)
    facts = {"converted": {"format": "BFS_Release", "sha256": integrity.sha256_file(Path(released)), "rank": sharing.config["rank"]}}
    return bundle.save_model(SimpleNamespace(sharing=sharing, rgba_vae=vae), Path(output).absolute(), bundle.root_of(base), facts)


def _rgba_vae(folder: str | Path) -> Any:
    from diffusers import AutoencoderKL

    try:
        vae = AutoencoderKL.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise BadInput("rgba_vae", folder, f"is not readable ({' '.join(str(error).split())[:120]})", "give a VAE's folder") from None
    if vae.config.in_channels != 4:
        raise BadInput("rgba_vae", folder, f"has {vae.config.in_channels} channels", "give the VAE with four")
    return vae


def read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises `BadInput` for anything else: nothing is unpickled."""
    path = Path(path)
    if not path.is_file():
        raise BadInput("released", path, "is not a file", "give the file of trained weights")
    if path.suffix != ".safetensors":
        raise BadInput("released", path, "is not a safetensors file, and pickles can run code", _PICKLE_REMEDY)
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise BadInput("released", path, f"is not readable as safetensors ({error})", _PICKLE_REMEDY) from None


def sharing_of(state: dict[str, Tensor], transformer_config: dict[str, Any], alpha: float | None = None) -> InformationSharing:
    """Sharing weights in the release's architecture that hold the tensors of `state`, in float32.

    Raises: `BadInput` naming the first key that is unknown, missing or of the wrong shape.
    """
    num_double, num_single = transformer_config["num_layers"], transformer_config["num_single_layers"]
    weights = _by_block(state, num_double)
    rank = next((w.shape[0] for (_, name), w in weights.items() if ".A." in name), 0)
    if rank < 1:
        raise BadInput("released", f"{len(state)} tensors", "hold no LoRA of attn1n", "give the file of trained weights of BFS_Release")
    head_dim = transformer_config["attention_head_dim"]
    dim = head_dim * transformer_config["num_attention_heads"]
    settings = RELEASE | {"rank": rank, "alpha": float(alpha or rank)}
    sharing = InformationSharing(num_double + num_single, dim, head_dim, num_projected=num_double, **settings)
    with torch.no_grad():
        for number, block in enumerate(sharing.blocks):
            _fill(block, number, weights, dim, rank)
    if weights:
        number, name = min(weights)
        rule = f"names {name} of block {number}, which the base does not have"
        raise BadInput("released", f"{len(weights)} tensors", rule, "convert onto the base that it was trained on")
    return sharing.eval()


def _by_block(state: dict[str, Tensor], num_double: int) -> Weights:
    """Tensors by (block, name), blocks counted through; names are `mixer` and `to_q.A.xy`."""
    weights: Weights = {}
    for key, tensor in state.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise BadInput("released", key, "is not a key of the release", "give only the trained weights: lora_A, lora_B and conv1n")
        number = int(match["number"]) + (num_double if match["kind"].startswith("single") else 0)
        if not match["kind"].startswith("single") and number >= num_double:
            raise BadInput("released", key, f"is of a block that this base, with {num_double}, does not have", "give the right base")
        name = "mixer" if match["projection"] is None else f"{match['projection']}.{match['matrix']}.{match['branch']}"
        if tensor.ndim != 2 or not tensor.isfinite().all():
            raise BadInput("released", key, "is not a matrix of finite numbers", "give another copy of the file")
        if (number, name) in weights:
            raise BadInput("released", key, "is given twice, under two prefixes", "give one model's weights")
        weights[number, name] = tensor.float()
    return weights


def _fill(block: Any, number: int, weights: Weights, dim: int, rank: int) -> None:
    """Move one block's tensors out of `weights` and into `block`."""

    def take(name: str, shape: tuple[int, int]) -> Tensor:
        tensor = weights.pop((number, name), None)
        if tensor is None:
            raise BadInput("released", f"block {number}", f"lacks {name}", "give the whole file, and the base that it was trained on")
        if tuple(tensor.shape) != shape:
            raise BadInput("released", f"block {number}", f"has {name} of shape {tuple(tensor.shape)}, not {shape}", "give the right base")
        return tensor

    adapters: list[tuple[Any, tuple[str, ...]]] = [(block.lora, _PROJECTIONS)]
    if block.out_lora is not None:
        adapters.append((block.out_lora, ("to_out.0",)))
    for lora, names in adapters:
        for b, branch in enumerate(_BRANCHES):
            for i, name in enumerate(names):
                lora.down[b, :, i * rank : (i + 1) * rank] = take(f"{name}.A.{branch}", (rank, dim)).T
                lora.up[b, i] = take(f"{name}.B.{branch}", (dim, rank)).T
    block.mixer.out.weight.copy_(take("mixer", (dim, dim)))


def _transformer_config(path: Path) -> dict[str, Any]:
    """The transformer's shape, from its configuration alone: the weights stay where they are."""
    from diffusers import FluxTransformer2DModel

    if not bundle.is_foreign(path) and integrity.read_manifest(path)["kind"] != bundle.BUNDLE:
        raise BadInput("base", path, "is not a base", "give a FLUX.1-Fill folder or a bundle")
    return dict(FluxTransformer2DModel.load_config(path / "transformer", local_files_only=True))
