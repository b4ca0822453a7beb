"""CLIP (Radford et al. 2021) as a filter: records whose object does not look like its caption are set aside."""

from collections.abc import Sequence
from pathlib import Path

from bfs_platform.data.model.base import Answer, device_of, in_batches, object_crop
from bfs_platform.data.record import Reason, Record, Reject
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.check import check_caption


class ClipFilter:
    """Rejects records below `filter.min_score`."""

    name = "clip"

    def __init__(self, spec: DataSpec, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        self.spec, self.device = spec, device_of()
        self.model = CLIPModel.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval().to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.processor = CLIPImageProcessorPil.from_pretrained(folder)

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """The records whose score is high enough, and rejects with theirs."""
        answers: list[Answer] = list(records)
        for position, score in in_batches(records, self.spec.models.batch_size, self.scores):
            if score < self.spec.filter.min_score:
                rule = f"CLIP gives object and caption a similarity of {score:.3f}, at least {self.spec.filter.min_score:g} is needed"
                answers[position] = Reject(Reason.LOW_SCORE, rule)
        return answers

    def scores(self, records: list[Record]) -> list[float]:
        """Cosine similarity of the crop around each object and its caption."""
        import torch

        pixels = self.processor([object_crop(record) for record in records], return_tensors="pt")["pixel_values"]
        length = min(self.tokenizer.model_max_length, self.model.config.text_config.max_position_embeddings)
        captions = [self._caption(record) for record in records]
        text = self.tokenizer(captions, padding=True, truncation=True, max_length=length, return_tensors="pt")
        with torch.inference_mode():
            out = self.model(
                input_ids=torch.as_tensor(text["input_ids"]).to(self.device),
                attention_mask=torch.as_tensor(text["attention_mask"]).to(self.device),
                pixel_values=pixels.to(self.device),
            )
        return [float(s) for s in torch.nn.functional.cosine_similarity(out.image_embeds.float(), out.text_embeds.float()).cpu()]

    def _caption(self, record: Record) -> str:
        try:
            return check_caption(record.caption, self.spec.default_caption)
        except Reject:  # set aside later, with its reason
            return ""
