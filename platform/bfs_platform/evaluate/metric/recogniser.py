"""Which shape and colour an object of the tabletop world has: a small classifier, trained on true renders alone.

It answers whether a drawn object is what the prompt names. Its own accuracy on true pictures is reported beside it.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box
from bfs_platform.tabletop.vocabulary import COLOURS, SHAPES

KIND = "recogniser"
EMBEDDED = Path(__file__).with_name("recogniser_weights")
_MARGIN = 0.12  # of the box on each side: an outline is seen against what lies around it


class Recogniser(ModelMixin, ConfigMixin):
    """Residual convolutions on a square crop around the box; two heads, one for shapes and one for colours."""

    @register_to_config
    def __init__(
        self, shapes: tuple[str, ...] = SHAPES, colours: tuple[str, ...] = tuple(COLOURS), side: int = 32, width: int = 32
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            *[_Block(width * min(2**i, 4), width * min(2 ** (i + 1), 4)) for i in range(3)],
            nn.GroupNorm(8, 4 * width),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(4 * width * (side // 8) ** 2, 4 * width),
            nn.SiLU(),
        )
        self.shape_head, self.colour_head = nn.Linear(4 * width, len(shapes)), nn.Linear(4 * width, len(colours))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """`crops` [B, 3, side, side] in [-1, 1] → logits of shapes [B, S] and colours [B, C]."""
        features = self.body(crops)
        return self.shape_head(features), self.colour_head(features)

    def knows(self, shape: str, colour: str) -> tuple[bool, bool]:
        """Whether it has been shown such a shape, and such a colour."""
        return shape in self.config.shapes, colour in self.config.colours

    @torch.no_grad()
    def recognise(self, picture: np.ndarray, box: Box) -> tuple[str, str]:
        """Shape and colour of what stands in `box` of `picture` (uint8 [H, W, 3])."""
        crop = crop_around(torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1), box, self.config.side)
        shape, colour = self(crop[None].to(self.dtype))
        return self.config.shapes[int(shape.argmax())], self.config.colours[int(colour.argmax())]


class _Block(nn.Module):
    """A residual block that halves the resolution."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm, self.first = nn.GroupNorm(8, width), nn.Conv2d(width, out, 3, padding=1)
        self.second, self.skip = nn.Conv2d(out, out, 3, padding=1), nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return F.avg_pool2d(out + self.skip(x), 2)


def find_recogniser(name: str | None) -> Recogniser | None:
    """The classifier that a specification names: `embedded`, a folder, or none."""
    if name is None:
        return None
    return load_recogniser(EMBEDDED if name == "embedded" else Path(name))


def load_recogniser(directory: Path = EMBEDDED) -> Recogniser:
    """The shipped classifier, or one that `jobs/train_recogniser.py` wrote; its files are checked first."""
    if not (directory / integrity.MANIFEST).exists() and (directory / "model").is_dir():
        directory = directory / "model"  # the output folder of a training job
    integrity.verify(directory, KIND)
    model = Recogniser.from_pretrained(directory)
    return model.float().eval()


def crop_around(picture: Tensor, box: Box, side: int) -> Tensor:
    """A square with a margin around `box`, resized: [3, H, W] → [3, side, side]; beyond the picture its edge goes on."""
    reach = max(max(box.width, box.height) * (0.5 + _MARGIN), 1.0)
    centre_x, centre_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    height, width = picture.shape[-2:]
    if height < 1 or width < 1:
        raise BadInput("picture", tuple(picture.shape), "is empty", "give a picture")
    steps = (torch.arange(2 * side) + 0.5) / side - 1  # two samples per pixel and axis, averaged: no aliasing at these sizes
    x, y = (centre_x + steps * reach) * 2 / width - 1, (centre_y + steps * reach) * 2 / height - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None].to(picture)
    return F.avg_pool2d(F.grid_sample(picture[None], grid, padding_mode="border", align_corners=False), 2)[0]
