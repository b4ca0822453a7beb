"""One bundle of a trained model and its base."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bfs_model import BFSPipeline, integrity
from bfs_model.errors import BadInput
from bfs_model.sampling.arguments import checked_steps
from bfs_model.sampling.prompt_guidance import checked_scale
from bfs_model.weight import bundle

_BACKBONE_KEYS = ("num_blocks", "dim", "head_dim")
TRAINED_PARTS = ("vae", "rgba_vae", "transformer", "compositor", "sharing")


def pack(model: str, output: Path, reference: str | None = None, take: Sequence[str] = (), settings: dict[str, Any] | None = None) -> Path:
    """Write `model`, parts of its base included, as one bundle with weights in float16; returns the path of its manifest.

    Its manifest keeps what the model's says of its training. `reference`: a bundle whose reference encoder goes in as well; it
    must have been distilled from the same text encoders. `take`: networks of other bundles, `transformer=FOLDER`, for those that
    were trained side by side. `settings` of sampling that are not None replace the model's own.
    Raises `BadInput` for a part that is none or does not fit.
    """
    folder = bundle.locate(model)
    facts = {k: v for k, v in integrity.read_manifest(folder)["body"].items() if k in ("training", "history", "gates")}
    pipe = BFSPipeline.from_pretrained(folder, memory="none")
    if reference is not None:
        pipe.load_reference_encoder(reference)
    pipe.register_modules(**_taken(pipe, take))
    pipe.register_to_config(**_checked({key: value for key, value in (settings or {}).items() if value is not None}))
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipe.save_pretrained(output, facts=facts)
    return output / integrity.MANIFEST


def _taken(pipe: BFSPipeline, take: Sequence[str]) -> dict[str, torch.nn.Module]:
    """The networks to take from other bundles, by name; each has the shapes of the one that it replaces."""
    parts: dict[str, torch.nn.Module] = {}
    for given in take:
        name, equals, folder = given.partition("=")
        if name not in TRAINED_PARTS or not equals or name in parts:
            raise BadInput("take", given, "is not PART=FOLDER, or names a part twice", f"use one of {', '.join(TRAINED_PARTS)}")
        other = BFSPipeline.from_pretrained(folder, memory="none")
        part, own = getattr(other, name), getattr(pipe, name)
        if part is None or own is None:
            raise BadInput("take", given, f"finds no {name} in {'it' if part is None else 'the model'}", "take a part that both have")
        if not _fits(name, part, own):
            raise BadInput("take", given, f"has another geometry than the {name} of the model", "take it from a bundle of the same base")
        parts[name] = part
        pipe.untrained = tuple({*pipe.untrained} - {name} | {*other.untrained} & {name})
        pipe.licence = pipe.licence or other.licence
    return parts


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    checked_steps(settings.get("default_steps", 1))
    checked_scale(settings.get("true_cfg_scale", 1))
    return settings


def _fits(name: str, part: Any, own: Any) -> bool:
    """Whether a part can stand in for another. Information sharing may be wider, but not of another backbone."""
    if name != "sharing":
        return _shapes(part) == _shapes(own)
    configs = ({key: module.config[key] for key in _BACKBONE_KEYS} for module in (part, own))
    return next(configs) == next(configs)


def _shapes(module: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}
