"""CLIP score and DINO score against transformers' own preprocessing and forward passes."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPModel, Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from bfs_platform.evaluate.learned.encoders import Clip, Dino, cosine
from bfs_platform.evaluate.learned.preprocess import DINO, clip_preprocessing

CPU = torch.device("cpu")
# The preprocessor_config.json of facebook/dinov2-base.
DINO_PROCESSOR = {"size": {"shortest_edge": 256}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize("shape", [(37, 51), (300, 224), (640, 513)])
def test_preprocessing_is_what_transformers_documents(shape) -> None:
    """Resizing, cropping and normalising give the tensors of the documented processors, for small and large pictures, to 1e-5."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    clip = CLIPImageProcessorPil()(image, return_tensors="pt")["pixel_values"]
    dino = BitImageProcessorPil(**DINO_PROCESSOR)(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(clip_preprocessing(224)(image), clip, atol=1e-5, rtol=0)
    torch.testing.assert_close(DINO(image), dino, atol=1e-5, rtol=0)


@torch.no_grad()
def test_clip_score_is_the_definition(clip_folder, picture) -> None:
    """2.5 · max(cos, 0) of the projected embeddings of the picture and of the caption behind its prefix, to 1e-6."""
    clip = Clip(clip_folder, CPU)
    model, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    pixels = clip_preprocessing(32)(picture)
    scores = set()
    for caption in ("a red cube", "cube", "a sphere in the dark"):
        tokens = tokenizer(["A photo depicts " + caption], return_tensors="pt")
        out = model(pixel_values=pixels, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        wanted = 2.5 * max(float(torch.cosine_similarity(out.image_embeds, out.text_embeds)), 0)
        assert clip.score(picture, caption) == pytest.approx(wanted, abs=1e-6)
        scores.add(round(wanted, 6))
    assert len(scores) > 1, "the caption matters"


def test_a_long_caption_is_cut_at_the_models_length(clip_folder, picture) -> None:
    """What goes beyond CLIP's positions is dropped, not an error."""
    clip = Clip(clip_folder, CPU)
    assert clip.score(picture, "red " * 40) == pytest.approx(clip.score(picture, "red " * 60))


@torch.no_grad()
def test_dino_features_are_the_class_token(dino_folder, picture) -> None:
    """The first token of the last layer after the norm; a picture is nearest to itself."""
    dino = Dino(dino_folder, CPU)
    wanted = Dinov2Model.from_pretrained(dino_folder).eval()(pixel_values=DINO(picture)).last_hidden_state[0, 0]
    np.testing.assert_allclose(dino.features(picture), wanted.numpy(), atol=1e-6)
    assert cosine(dino.features(picture), dino.features(picture)) == pytest.approx(1)
    assert cosine(dino.features(picture), dino.features(255 - picture)) < 0.9999
