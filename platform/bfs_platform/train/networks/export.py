"""Writing a bundle with some of its parts exchanged."""

from pathlib import Path
from typing import Any

from bfs_model import BFSPipeline, bundle, integrity


def save_bundle(pipe: BFSPipeline, parts: dict[str, Any], output: Path, facts: dict[str, Any]) -> Path:
    """Save `pipe` with `parts` in place of its own as a bundle below `output`; `facts` go into its manifest."""
    pipe.register_modules(**{name: part.requires_grad_(False).eval() for name, part in parts.items()})
    pipe.save_pretrained(output / bundle.BUNDLE, facts=facts)
    return output / bundle.BUNDLE / integrity.MANIFEST
