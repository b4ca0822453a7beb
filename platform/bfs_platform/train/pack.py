"""One bundle of a trained model and its base."""

from pathlib import Path

import torch

from bfs_model import BFSPipeline, bundle, integrity

REFERENCE_PARTS = ("image_encoder", "image_embedder", "feature_extractor")


def pack(model: str, output: Path, reference: str | None = None) -> Path:
    """Write `model`, parts of its base included, as one bundle with weights in float16; returns the path of its manifest.

    Its manifest keeps what the model's says of its training. `reference`: a bundle whose reference encoder goes in as well; it
    must have been distilled from the same text encoders.
    """
    folder = bundle.locate(model)
    facts = {k: v for k, v in integrity.read_manifest(folder)["body"].items() if k in ("training", "history", "gates")}
    pipe = BFSPipeline.from_pretrained(folder)
    if reference is not None:
        other = BFSPipeline.from_pretrained(reference)
        pipe.register_modules(**{name: getattr(other, name) for name in REFERENCE_PARTS})
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipe.save_pretrained(output, facts=facts)
    return output / integrity.MANIFEST
