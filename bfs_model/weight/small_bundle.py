"""A small bundle, read part by part: the same pipeline as the libraries' own loaders give, without their preparations.

Those are made for checkpoints of many gigabytes, sharded, in other versions' key names, quantised, on several devices, and take
longer than reading and running a small model. What is not exactly as expected is left to them.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

SMALL_BYTES = 256 * 2**20
# Where the classes of a bundle are defined; importing them from the top of their package would index all of it.
_MODULES = {
    "AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl",
    "CLIPTextModel": "transformers.models.clip.modeling_clip",
    "CLIPTokenizer": "transformers.models.clip.tokenization_clip",
    "FlowMatchEulerDiscreteScheduler": "diffusers.schedulers.scheduling_flow_match_euler_discrete",
    "FluxTransformer2DModel": "diffusers.models.transformers.transformer_flux",
    "InformationSharing": "bfs_model.network.sharing",
    "LatentCompositor": "bfs_model.network.compositor",
    "ReduxImageEncoder": "diffusers.pipelines.flux.modeling_flux",
    "SiglipImageProcessorPil": "transformers.models.siglip.image_processing_pil_siglip",
    "SiglipVisionModel": "transformers.models.siglip.modeling_siglip",
    "T5EncoderModel": "transformers.models.t5.modeling_t5",
    "T5Tokenizer": "transformers.models.t5.tokenization_t5",
}
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")


def is_small(manifest: dict[str, Any]) -> bool:
    """Whether a bundle's weights are less than `SMALL_BYTES`, by its manifest."""
    return sum(int(file["bytes"]) for file in manifest["files"]) < SMALL_BYTES


def load(path: Path, given: dict[str, Any]) -> dict[str, Any] | None:
    """Parts, in float32, and settings of the bundle in `path`, whose files were checked; `given` ones are used in their place.

    Returns: arguments for the pipeline; None when there is a part that the libraries must load.
    """
    index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
    loaded: dict[str, Any] = {key: value for key, value in index.items() if not key.startswith("_") and not isinstance(value, list)}
    with torch.random.fork_rng(devices=[]), _unfilled():
        for name, value in index.items():
            if not isinstance(value, list) or name in given:
                continue
            part = None if value == [None, None] else _part(path / name, str(value[1]))
            if part is None and value != [None, None]:
                return None
            loaded[name] = part
    return loaded | given


@contextmanager
def _unfilled() -> Iterator[None]:
    """Networks made inside have whatever memory held for weights that would be drawn at random: they are about to be read."""
    drawn = {name: getattr(torch.nn.init, name) for name in ("kaiming_uniform_", "normal_", "uniform_")}
    try:
        for name in drawn:
            setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
        yield
    finally:
        for name, function in drawn.items():
            setattr(torch.nn.init, name, function)


def _part(folder: Path, class_name: str) -> Any:
    if class_name not in _MODULES:
        return None
    part_class = getattr(import_module(_MODULES[class_name]), class_name)
    if not issubclass(part_class, torch.nn.Module):
        return part_class.from_pretrained(folder, local_files_only=True)
    files = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if len(files) != 1:
        return None
    if hasattr(part_class, "from_config"):
        network = part_class.from_config(part_class.load_config(folder, local_files_only=True))
    else:
        network = part_class(part_class.config_class.from_pretrained(folder, local_files_only=True))
    weights, own = load_file(files[0]), network.state_dict()
    loaded = {own[key].data_ptr() for key in weights if key in own}
    if weights.keys() - own.keys() or any(own[key].data_ptr() not in loaded for key in own.keys() - weights.keys()):
        return None  # renamed, or missing and not tied to one that is there
    network.load_state_dict(weights, strict=False)
    return network.eval()
