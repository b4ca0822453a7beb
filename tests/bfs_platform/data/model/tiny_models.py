"""The build's pretrained models in their published layouts, a few thousand random weights each."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

CAPTIONS = ["a red disk", "a green disk", "a blue disk", "a yellow disk", "remove the instance of object"]


def _processor(folder: Path, size: int) -> None:
    facts: dict[str, Any] = {"size": {"height": size, "width": size}, "crop_size": {"height": size, "width": size}}
    facts |= {"do_resize": True, "do_center_crop": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))


def vitmatte(folder: Path) -> Path:
    from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

    backbone = VitDetConfig(
        num_channels=4, image_size=32, pretrain_image_size=32, patch_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    config = VitMatteConfig(backbone_config=backbone, hidden_size=8, fusion_hidden_sizes=[8, 8, 8, 8], convstream_hidden_sizes=[4, 4, 4])
    torch.manual_seed(1)
    VitMatteForImageMatting(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_pad": True, "size_divisor": 32}))
    return folder


def sam2(folder: Path) -> Path:
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2MaskDecoderConfig, Sam2Model, Sam2PromptEncoderConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[2, 2],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    prompt = Sam2PromptEncoderConfig(hidden_size=32, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = Sam2MaskDecoderConfig(hidden_size=32, mlp_dim=32, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=16)
    torch.manual_seed(2)
    Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)).save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    from bfs_model.network.text import clip_tokenizer

    tokenizer = clip_tokenizer(CAPTIONS, 16)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = size | {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1}
    vision = size | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(3)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _processor(folder, 32)
    return folder


def blip2(folder: Path) -> Path:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2QFormerConfig, Blip2VisionConfig, OPTConfig

    from bfs_model.network.text import clip_tokenizer

    tokenizer = clip_tokenizer(CAPTIONS, 32)
    words = len(tokenizer)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = Blip2VisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    former = Blip2QFormerConfig(**size, vocab_size=32, encoder_hidden_size=16)
    text = OPTConfig(
        vocab_size=words + 1,
        hidden_size=16,
        word_embed_proj_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    config = Blip2Config(vision_config=vision, qformer_config=former, text_config=text, num_query_tokens=4, image_token_index=words)
    torch.manual_seed(4)
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _processor(folder, 28)
    return folder


def objectclear(folder: Path) -> Path:
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from bfs_model.network.text import clip_tokenizer
    from bfs_platform.data.model.objectclear import ObjectWord

    tokenizer = clip_tokenizer(CAPTIONS, 77)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = CLIPTextConfig(**size, vocab_size=len(tokenizer), projection_dim=16, eos_token_id=1, bos_token_id=0, pad_token_id=1)
    torch.manual_seed(5)
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(text).save_pretrained(folder / "text_encoder_2")
    for name in ("tokenizer", "tokenizer_2"):
        tokenizer.save_pretrained(folder / name)
    UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=8,
        in_channels=9,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=16 + 6 * 8,
        cross_attention_dim=32,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    ).save_pretrained(folder / "vae")
    EulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    vision = size | {"image_size": 32, "patch_size": 16}
    eye = CLIPConfig(text_config=size | {"vocab_size": 8, "max_position_embeddings": 4}, vision_config=vision, projection_dim=24)
    CLIPModel(eye).save_pretrained(folder / "image_prompt_encoder")
    (folder / "postfuse_module").mkdir()
    save_file(ObjectWord(32, 24).state_dict(), folder / "postfuse_module" / "model.safetensors")
    (folder / "model_index.json").write_text('{"_class_name": "ObjectClearPipeline"}')
    return folder
