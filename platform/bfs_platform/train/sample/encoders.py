"""Whether a data set was encoded by the encoders of the base that is trained on."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bfs_model.errors import BadInput
from bfs_model.latent import encoding
from bfs_platform.train.sample import batches

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset

# Half precision and other processors change encodings by a hundredth; other weights by as much as they are large.
_TOLERANCE = 0.1


def check_encoders(pipe: Any, dataset: "Dataset", *, layers: bool) -> None:
    """Encode the first record anew and compare: background and, with `layers`, the foreground; the caption where `pipe` can read it.

    Raises: `BadInput` when the base gives something else than the data set holds.
    """
    row = np.arange(1)
    found: dict[str, tuple[Tensor, np.ndarray]] = {}
    with torch.no_grad():
        found["vae"] = (
            encoding.encode_images(pipe.vae, batches.images(dataset, row, "background_png"))[0],
            dataset.latents("z_bg_mean", row),
        )
        if layers:
            foreground = batches.images(dataset, row, "foreground_png")
            found["rgba_vae"] = encoding.encode_images(pipe.rgba_vae, foreground)[0], dataset.latents("z_fg_mean", row)
        if pipe.text_encoder_2 is not None:
            found["text_encoder_2"] = pipe.encode_prompt(dataset.take(row, ["caption"])["caption"])[0], dataset.prompt_embeds(row)
    for part, (ours, theirs) in found.items():
        stored = torch.from_numpy(theirs)
        if ours.shape != stored.shape or (ours.float().cpu() - stored).norm() > _TOLERANCE * stored.norm():
            rule = f"was encoded by another {part} than that of the base"
            raise BadInput("dataset", dataset.root, rule, "build it again with this base, or train on the base it was built with")
