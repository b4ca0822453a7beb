"""One bundle of a trained model and its base."""

from pathlib import Path

import torch

from bfs_model import BFSPipeline, bundle, integrity


def pack(model: str, output: Path) -> Path:
    """Write `model`, parts of its base included, as one bundle with weights in float16; returns the path of its manifest.

    Its manifest keeps what the model's says of its training.
    """
    folder = bundle.locate(model)
    facts = {k: v for k, v in integrity.read_manifest(folder)["body"].items() if k in ("training", "history", "gates")}
    pipe = BFSPipeline.from_pretrained(folder)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipe.save_pretrained(output, facts=facts)
    return output / integrity.MANIFEST
