"""CLIP and DINOv2 as small objects: a picture goes in, a vector comes out."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bfs_platform.evaluate.learned.preprocess import DINO, clip_preprocessing

CLIP_WEIGHT = 2.5  # Hessel et al. 2021, section 3
CLIP_PREFIX = "A photo depicts "


class FeatureExtractor(Protocol):
    """Turns pictures into vectors, for KID."""

    name: str

    def features(self, picture: np.ndarray) -> np.ndarray:
        """`picture` uint8 [H, W, 3] → float32 [D]."""
        ...


class Clip:
    """CLIPScore (Hessel et al. 2021): 2.5 · max(cos(image, text), 0) with the text `A photo depicts ` + caption."""

    name = "clip"

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        self.model: Any = _loaded(CLIPModel, folder, device)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        self.preprocessing = clip_preprocessing(self.model.config.vision_config.image_size)

    def score(self, picture: np.ndarray, caption: str) -> float:
        """CLIP score of a picture and a caption, 0 to 2.5."""
        cosine = torch.cosine_similarity(self._image(picture), self._text(CLIP_PREFIX + caption))
        return CLIP_WEIGHT * max(float(cosine), 0.0)

    def features(self, picture: np.ndarray) -> np.ndarray:
        """The image embedding after projection, not normalised."""
        return _vector(self._image(picture))

    @torch.no_grad()
    def _image(self, picture: np.ndarray) -> Tensor:
        pooled = self.model.vision_model(pixel_values=self.preprocessing(picture).to(self.model.device)).pooler_output
        return torch.as_tensor(self.model.visual_projection(pooled))

    @torch.no_grad()
    def _text(self, text: str) -> Tensor:
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer([text], max_length=longest, truncation=True, return_tensors="pt").to(self.model.device)
        pooled = self.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return torch.as_tensor(self.model.text_projection(pooled))


class Dino:
    """DINOv2's class token after the last norm."""

    name = "dino"

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import Dinov2Model

        self.model: Any = _loaded(Dinov2Model, folder, device)

    @torch.no_grad()
    def features(self, picture: np.ndarray) -> np.ndarray:
        """The class token of a picture."""
        return _vector(self.model(pixel_values=DINO(picture).to(self.model.device)).pooler_output)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two vectors. Raises `ValueError` where one is zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not lengths > 0:
        raise ValueError("a vector of features is zero, so it has no direction")
    return float(a @ b / lengths)


def _loaded(model_class: Any, folder: Path, device: torch.device) -> Any:
    model = model_class.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    return model.eval().requires_grad_(False).to(device)


def _vector(batch: Tensor) -> np.ndarray:
    return batch[0].float().cpu().numpy()
