"""What a caller should know before using a result: of the layer, of the prompt, of the model. One owner for all that draws.

They are lines for people, without a full stop, and no errors: the layer is drawn all the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

_SHOWN = 160  # characters of each end of a long passage


def warnings_of(layer: Image.Image | np.ndarray) -> tuple[str, ...]:
    """Of a drawn layer: RGBA, or an array [H, W, 4], uint8 or float in [0, 1]."""
    alpha = np.asarray(layer)[..., 3]
    if not alpha.any():
        return ("the layer is empty: alpha is 0 everywhere; try another seed or a larger box",)
    return ("the layer is opaque everywhere",) if alpha.min() == (255 if alpha.dtype == np.uint8 else 1) else ()


def of_prompt(pipe: Any, prompt: str) -> tuple[str, ...]:
    """Which words of a prompt the encoders of a `BFSPipeline` do not read."""
    found = []
    for unread in pipe.unread(prompt):
        if unread.dropped:
            why = "stops at what it has no tokens for" if unread.ended else f"reads {unread.num_tokens} tokens of a prompt"
            found.append(f'{unread.encoder} {why}; it did not read "{_shortened(unread.dropped)}"')
        if unread.unknown:
            found.append(f'{unread.encoder} has no tokens for "{_shortened(" ".join(unread.unknown))}"')
    return tuple(found)


def of_model(untrained: Sequence[str]) -> tuple[str, ...]:
    """Of a model with parts that were never trained, such as FLUX.1-Fill as it comes."""
    return (f"this model draws with parts that were never trained: {', '.join(untrained)}",) if untrained else ()


def of_call(pipe: Any, prompts: Sequence[str], layers: Sequence[Any] | None) -> list[list[str]]:
    """Per image, all of the above; `layers` is None where nothing was decoded."""
    of_pipe = of_model([part for part in pipe.untrained if part != "compositor"])  # Φ is for training alone
    of_layers = [()] * len(prompts) if layers is None else [warnings_of(layer) for layer in layers]
    return [[*of_pipe, *of_prompt(pipe, prompt), *of_layer] for prompt, of_layer in zip(prompts, of_layers, strict=True)]


def _shortened(text: str) -> str:
    """On one line; of a very long passage its beginning and its end."""
    line = " ".join(text.split())
    return line if len(line) <= 2 * _SHOWN else f"{line[:_SHOWN]} … {line[-_SHOWN:]}"
