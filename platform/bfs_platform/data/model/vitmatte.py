"""ViTMatte (Yao et al. 2024): object mask → trimap → alpha by a vision transformer; colours by multi-level estimation.

The network gives alpha only, so the foreground's own colours are estimated as for closed-form matting, or the old background
would shine through as a halo.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bfs_platform.data.model.base import Answer, device_of, in_batches
from bfs_platform.data.record import Record
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.compose import quantised
from bfs_platform.data.stage.fit import MASK_LEVEL
from bfs_platform.data.stage.matting import trimap, with_own_colours


class VitMatteLayers:
    """Gives every record that has none a `foreground`."""

    name = "vitmatte"

    def __init__(self, spec: DataSpec, folder: Path) -> None:
        from transformers import VitMatteForImageMatting
        from transformers.models.vitmatte.image_processing_pil_vitmatte import VitMatteImageProcessorPil

        self.spec, self.device = spec, device_of()
        self.model = VitMatteForImageMatting.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval().to(self.device)
        stated = (folder / "preprocessor_config.json").is_file()
        self.processor = VitMatteImageProcessorPil.from_pretrained(folder) if stated else VitMatteImageProcessorPil()

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """Every record with its layer."""
        answers: list[Answer] = list(records)
        for position, foreground in in_batches(
            records, self.spec.models.batch_size, self._layers, lambda record: record.foreground is None
        ):
            answers[position] = replace(records[position], foreground=foreground)
        return answers

    def _layers(self, records: list[Record]) -> list[np.ndarray]:
        import torch

        known = [self._trimap(record) for record in records]
        trimaps = [np.rint(one * 255).astype(np.uint8) for one in known]
        inputs = self.processor([record.composite for record in records], trimaps, return_tensors="pt")
        with torch.inference_mode():
            alphas = self.model(pixel_values=inputs["pixel_values"].to(self.device)).alphas.float().cpu().numpy()
        height, width = known[0].shape
        return [self._layer(r, k, a[0, :height, :width]) for r, k, a in zip(records, known, alphas, strict=True)]

    def _trimap(self, record: Record) -> np.ndarray:
        if not (record.object_mask >= MASK_LEVEL).any():  # set aside later, with its reason
            return np.zeros(record.object_mask.shape)
        return trimap(record.object_mask, self.spec.matting)

    def _layer(self, record: Record, known: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        alpha = np.where(known == 0.5, np.clip(alpha, 0, 1), known)
        return quantised(with_own_colours(record.composite / 255.0, alpha))
