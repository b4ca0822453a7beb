"""ObjectClear (Zhao et al. 2025): the background without the object *and* its effects, by an SDXL inpainting network.

Layout and settings: objectclear/pipelines/pipeline_objectclear.py of zjx0101/ObjectClear. Beside diffusers' SDXL there are two
parts of its own: CLIP's picture embedding of the object alone, and a small network that puts it in the place of the word "object"
of the prompt. The network sees the whole picture, not one with a hole. Where it looked for the object and its effects, by the
attention to that word, the picture is taken from it; everywhere else the original stays.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from bfs_platform.data.model.base import Answer, device_of, in_batches
from bfs_platform.data.record import Record, seed_of
from bfs_platform.data.spec import DataSpec
from bfs_platform.data.stage.fit import MASK_LEVEL

PROMPT, OBJECT_TOKEN = "remove the instance of object", 5
WATCHED = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ATTENTION_LEVEL, GROW_PIXELS, BLUR_SIGMA = 0.5, 10, 2.0


class _Mlp(nn.Module):
    def __init__(self, num_in: int, num_out: int, residual: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(num_in)
        self.fc1, self.fc2 = nn.Linear(num_in, num_out), nn.Linear(num_out, num_out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc2(nn.functional.gelu(self.fc1(self.layernorm(x))))
        return x + y if self.residual else y


class ObjectWord(nn.Module):
    """A picture's embedding [N, P] → what stands for the word "object" in the prompt [N, D]. Parameter names as published."""

    def __init__(self, text_dim: int, picture_dim: int) -> None:
        super().__init__()
        self.mlp1, self.mlp2 = _Mlp(picture_dim, text_dim, False), _Mlp(text_dim, text_dim, True)
        self.layer_norm = nn.LayerNorm(text_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.layer_norm(self.mlp2(self.mlp1(embedding)))

    @classmethod
    def load(cls, folder: Path) -> "ObjectWord":
        """From `folder/*.safetensors`; the sizes are those of the weights."""
        from safetensors.torch import load_file

        weights = load_file(sorted(folder.glob("*.safetensors"))[-1])
        text_dim, picture_dim = weights["mlp1.fc1.weight"].shape
        module = cls(text_dim, picture_dim)
        module.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        return module


class _Watcher(AttnProcessor):
    """Plain attention that remembers, summed over the steps, how much each place looks at one word of the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        assert encoder_hidden_states is not None
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        scores = attn.get_attention_scores(query, attn.head_to_batch_dim(attn.to_k(encoder_hidden_states)))
        word = scores[..., OBJECT_TOKEN].unflatten(0, (-1, attn.heads)).mean(dim=1)
        self.seen = word if self.seen is None else self.seen + word
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


class ObjectClearBackground:
    """Gives every record a background of its own making, unless its layer is given."""

    name = "objectclear"

    def __init__(self, spec: DataSpec, folder: Path) -> None:
        from diffusers import AutoencoderKL, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
        from diffusers.schedulers import EulerDiscreteScheduler
        from transformers import AutoTokenizer, CLIPModel, CLIPTextModel, CLIPTextModelWithProjection

        self.spec, self.device = spec, device_of()
        dtype = torch.float16 if self.device == "cuda" else torch.float32

        def part(cls: Any, name: str) -> Any:
            variant = "fp16" if any((folder / name).glob("*.fp16.safetensors")) else None
            settings: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "variant": variant}
            return cls.from_pretrained(folder, subfolder=name, torch_dtype=dtype, **settings)

        self.pipe = StableDiffusionXLInpaintPipeline(
            vae=part(AutoencoderKL, "vae"),
            text_encoder=part(CLIPTextModel, "text_encoder"),
            text_encoder_2=part(CLIPTextModelWithProjection, "text_encoder_2"),
            tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
            tokenizer_2=AutoTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True),
            unet=part(UNet2DConditionModel, "unet"),
            scheduler=EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler"),
            add_watermarker=False,
        ).to(self.device)
        self.pipe.set_progress_bar_config(disable=True)
        self.eye = part(CLIPModel, "image_prompt_encoder").eval().to(self.device)
        self.word = ObjectWord.load(folder / "postfuse_module").to(self.device, dtype).eval()

    def __call__(self, records: Sequence[Record]) -> list[Answer]:
        """Every record with its object and the object's effects removed from the background; what lies under a given layer is known."""
        answers: list[Answer] = list(records)
        batches = in_batches(records, self.spec.models.batch_size, self._backgrounds, lambda record: not record.whole_layer)
        for position, background in batches:
            answers[position] = replace(records[position], background=background)
        return answers

    @torch.inference_mode()
    def _backgrounds(self, records: list[Record]) -> list[np.ndarray]:
        pictures = torch.from_numpy(np.stack([r.composite for r in records])).permute(0, 3, 1, 2).float() / 255
        masks = torch.from_numpy(np.stack([r.object_mask >= MASK_LEVEL for r in records]))[:, None].float()
        embeddings = self._prompt(pictures, masks)
        watcher = _Watcher()
        attention = self.pipe.unet.get_submodule(WATCHED)
        before = attention.processor
        attention.set_processor(watcher)
        try:
            guidance = self.spec.models.objectclear_guidance
            out = self.pipe(
                image=pictures,
                mask_image=masks,
                masked_image_latents=self._latents(pictures),
                **embeddings,
                height=pictures.shape[2],
                width=pictures.shape[3],
                strength=1.0,
                num_inference_steps=self.spec.models.objectclear_steps,
                guidance_scale=guidance,
                generator=[torch.Generator().manual_seed(seed_of(self.spec.seed, "objectclear", r.id)) for r in records],
                output_type="np",
            ).images
        finally:
            attention.set_processor(before)
        assert watcher.seen is not None
        looked = watcher.seen[-len(records) :].float().cpu().numpy()
        return [fused(r, np.rint(o * 255), a) for r, o, a in zip(records, out, looked, strict=True)]

    def _prompt(self, pictures: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """The prompt's embeddings with the object's own in the place of its word."""
        count, side = len(pictures), self.eye.config.vision_config.image_size
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        guided = self.spec.models.objectclear_guidance > 1
        given = self.pipe.encode_prompt([PROMPT] * count, device=self.device, do_classifier_free_guidance=guided)
        embeddings = {name: tensor for name, tensor in zip(names, given, strict=True) if tensor is not None}
        alone = nn.functional.interpolate((pictures * 2 - 1) * masks, (side, side), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        seen = self.eye.vision_model(((alone - mean) / std).to(self.device, self.eye.dtype)).pooler_output
        fused_prompt = embeddings["prompt_embeds"].clone()
        fused_prompt[:, OBJECT_TOKEN] = self.word(self.eye.visual_projection(seen))
        return embeddings | {"prompt_embeds": fused_prompt}

    def _latents(self, pictures: Tensor) -> Tensor:
        """The whole picture's latents: where the published inpainting networks of SDXL see a hole, this one sees the object."""
        vae = self.pipe.vae
        return vae.encode((pictures * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor


def fused(record: Record, removed: np.ndarray, looked: np.ndarray) -> np.ndarray:
    """`removed` [H, W, 3] where the network looked for the object and its effects, and under the mask; else the original.

    `looked` [places] is its attention to the object's word, over a grid of the picture's aspect.
    """
    from PIL import Image
    from scipy.ndimage import binary_dilation, gaussian_filter

    height, width = record.object_mask.shape
    rows = max(1, round(float(np.sqrt(looked.size * height / width))))
    while looked.size % rows:
        rows -= 1
    grid = looked.reshape(rows, -1)
    grid = (grid - grid.min()) / max(float(np.ptp(grid)), 1e-8)
    level = np.asarray(Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    region = binary_dilation((level >= ATTENTION_LEVEL) | (record.object_mask >= MASK_LEVEL), iterations=GROW_PIXELS)
    weight = np.maximum(region, gaussian_filter(region.astype(np.float32), BLUR_SIGMA))[..., None]
    return np.rint(weight * removed + (1 - weight) * record.composite).clip(0, 255).astype(np.uint8)
