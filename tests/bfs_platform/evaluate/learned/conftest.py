"""CLIP and DINOv2 with random weights, in the layout that their real folders have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

from bfs_model.network.text import clip_tokenizer


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two layers for pictures of 32 × 32."""
    folder = tmp_path_factory.mktemp("weights") / "tiny-clip"
    tokenizer = clip_tokenizer(["a photo depicts a red cube"], 40)
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = common | {"vocab_size": len(tokenizer), "max_position_embeddings": 40}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = CLIPConfig(text_config=text, vision_config=common | {"image_size": 32, "patch_size": 8}, projection_dim=12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(config)
        for parameter in model.parameters():  # CLIP's own initialisation hardly lets the input through
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of two layers."""
    folder = tmp_path_factory.mktemp("weights") / "tiny-dino"
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=56, mlp_ratio=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Dinov2Model(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
    return folder


@pytest.fixture
def picture() -> np.ndarray:
    """Noise of 37 × 51 pixels: neither square nor divisible by anything."""
    return np.random.default_rng(3).integers(0, 256, (37, 51, 3), dtype=np.uint8)
