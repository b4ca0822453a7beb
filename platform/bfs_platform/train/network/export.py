"""Reading what VAEs and Φ are trained on, and writing what was trained: a bundle with some of its parts exchanged, or, on
FLUX.1-Fill, these parts and a pointer to it.
"""

from pathlib import Path
from typing import Any

from bfs_model import BFSPipeline, integrity
from bfs_model.weight import bundle

# What neither a VAE nor Φ looks at: of FLUX.1-Fill, 34 GB in every worker.
_UNUSED = ("transformer", "sharing", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


def load_parts(base: str) -> BFSPipeline:
    """What VAEs and Φ are trained on. FLUX.1-Fill, whose parts are not written again, comes without those that are not looked at."""
    foreign = bundle.is_foreign(bundle.locate(bundle.root_of(base)))
    unused: dict[str, Any] = dict.fromkeys(_UNUSED) if foreign and "sharing" in bundle.untrained(base) else {}
    return BFSPipeline.from_pretrained(base, memory="none", **unused)


def save_parts(pipe: BFSPipeline, base: str, parts: dict[str, Any], output: Path, facts: dict[str, Any]) -> Path:
    """Save `parts`, trained on `base`, below `output`. Of FLUX.1-Fill, 34 GB under terms of its own, no copy is made."""
    root = bundle.root_of(base)
    if not bundle.is_foreign(bundle.locate(root)):
        return save_bundle(pipe, parts, output, facts)
    pipe.untrained = tuple(part for part in pipe.untrained if part not in parts)
    pipe.register_modules(**{name: part.requires_grad_(False).eval() for name, part in parts.items()})
    return bundle.save_model(pipe, output / bundle.MODEL, root, facts)


def save_bundle(pipe: BFSPipeline, parts: dict[str, Any], output: Path, facts: dict[str, Any], grown: dict[str, Any] | None = None) -> Path:
    """Save `pipe` with `parts` in place of its own as a bundle below `output`; `facts` go into its manifest.

    `parts` are trained from now on, whatever the base said of its own; `grown` are put in place as well, and are not.
    """
    pipe.untrained = tuple(part for part in pipe.untrained if part not in parts) + tuple(grown or ())
    parts = {**parts, **(grown or {})}
    pipe.register_modules(**{name: part.requires_grad_(False).eval() for name, part in parts.items()})
    pipe.save_pretrained(output / bundle.BUNDLE, facts=facts)
    return output / bundle.BUNDLE / integrity.MANIFEST
