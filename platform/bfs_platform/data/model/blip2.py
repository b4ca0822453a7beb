"""BLIP-2 (Li et al. 2023): a caption of what the box shows, for sources without captions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bfs_platform.data.model.base import Answer, device_of, in_batches, object_crop
from bfs_platform.data.record import Record
from bfs_platform.data.spec import DataSpec


class Blip2Captions:
    """Gives a `caption` to every record that has none, or to all."""

    name = "blip2"

    def __init__(self, spec: DataSpec, folder: Path) -> None:
        import torch
        from transformers import AutoTokenizer, Blip2ForConditionalGeneration
        from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

        self.spec, self.device = spec, device_of()
        dtype = torch.float16 if self.device == "cuda" else torch.float32
        model = Blip2ForConditionalGeneration.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=dtype)
        self.model = model.eval().to(self.device)
        self.dtype = dtype
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.processor = BlipImageProcessorPil.from_pretrained(folder)

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """Every record with a caption; one for which the model says nothing keeps a blank one, and is set aside later."""
        answers: list[Answer] = list(records)
        for position, caption in in_batches(records, self.spec.models.batch_size, self._captions, self._wanted):
            answers[position] = replace(records[position], caption=caption)
        return answers

    def _wanted(self, record: Record) -> bool:
        return self.spec.caption.replace or not record.caption.strip()

    def _captions(self, records: list[Record]) -> list[str]:
        import torch

        crops: list[np.ndarray] = [object_crop(record) for record in records]
        pixels = self.processor(crops, return_tensors="pt")["pixel_values"].to(self.device, self.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(pixel_values=pixels, max_new_tokens=self.spec.caption.max_tokens, do_sample=False)
        return [" ".join(text.split()) for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
