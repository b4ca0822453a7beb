"""From picture to network input, with the constants that CLIP's and DINOv2's own preprocessors document.

Written out here so that a figure does not depend on which image backend transformers finds installed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Short side to `resize` pixels (bicubic, antialiased), a central square of `crop`, then (x − mean) / std for x in [0, 1]."""

    resize: int
    crop: int
    mean: Triple
    std: Triple

    def __call__(self, picture: np.ndarray) -> Tensor:
        """`picture` uint8 [H, W, 3] → float32 [1, 3, crop, crop]."""
        height, width = picture.shape[:2]
        short = min(height, width)
        # The long side is cut off, not rounded, as transformers does it.
        size = (int(self.resize * width / short), int(self.resize * height / short))
        image = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        top, left = (size[1] - self.crop) // 2, (size[0] - self.crop) // 2
        square = image[top : top + self.crop, left : left + self.crop].astype(np.float32) / 255
        normal = (square - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)))[None]


def clip_preprocessing(side: int) -> Preprocessing:
    """CLIP's: the side is the one that its vision tower was trained for (224 for ViT-B/32)."""
    return Preprocessing(side, side, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


# DINOv2's, whatever size its position embedding was trained for: the network interpolates it.
DINO = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
