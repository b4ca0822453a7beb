"""SAM 2 (Ravi et al. 2024): the mask of the object in a box, for sources that come with boxes only.

The published image processor needs torchvision; what it does to a picture is a resize to a square and a normalisation.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bfs_model.picture.boxes import bounding_box
from bfs_platform.data.model.base import Answer, device_of, in_batches, normalised
from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.fit import MASK_LEVEL

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Sam2Masks:
    """Replaces the inside of a box by the object's mask; masks that a source gives stay."""

    name = "sam2"

    def __init__(self, spec: DataSpec, folder: Path) -> None:
        from transformers import Sam2Model

        self.spec, self.device = spec, device_of()
        self.model = Sam2Model.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval().to(self.device)
        size = self.model.config.prompt_encoder_config.image_size
        self.side = int(size if isinstance(size, int) else size[0])

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """Every record with its mask; a box outside the picture is a reject."""
        answers: list[Answer] = list(records)
        for position, mask in in_batches(records, self.spec.models.batch_size, self._masks, lambda record: record.mask_is_box):
            if mask is None:
                answers[position] = Reject(Reason.EMPTY_MASK, "the box lies outside the picture")
            else:
                answers[position] = replace(records[position], object_mask=mask, mask_is_box=False)
        return answers

    def _masks(self, records: list[Record]) -> list[np.ndarray | None]:
        import torch
        from PIL import Image

        height, width = records[0].composite.shape[:2]
        boxes = [bounding_box(record.object_mask >= MASK_LEVEL) for record in records]
        scale = self.side / width, self.side / height, self.side / width, self.side / height
        corners = [[0.0] * 4 if b is None else [c * s for c, s in zip((b.x0, b.y0, b.x1, b.y1), scale, strict=True)] for b in boxes]
        square = (self.side, self.side)
        pictures = [np.asarray(Image.fromarray(r.composite).resize(square, Image.Resampling.BILINEAR)) for r in records]
        with torch.inference_mode():
            pixels = normalised(pictures, MEAN, STD).to(self.device)
            prompts = torch.tensor(corners, dtype=torch.float32, device=self.device)[:, None]
            logits = self.model(pixel_values=pixels, input_boxes=prompts, multimask_output=False).pred_masks[:, 0].float()
            grown = torch.nn.functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        masks = (grown[:, 0] > 0).cpu().numpy().astype(np.uint8) * 255
        return [None if box is None else mask for box, mask in zip(boxes, masks, strict=True)]
