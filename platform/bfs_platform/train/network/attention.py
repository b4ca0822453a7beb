"""What self-attention is of in a training step: the shape that kernels are measured at."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bfs_model.latent import encoding
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state.kernels import Shape

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset


def shape_of(pipe: Any, dataset: "Dataset", spec: TrainSpec, branches: int) -> Shape:
    """Of a micro-batch of the largest pictures of `dataset`, `branches` sequences for each of them."""
    config, factor = pipe.transformer.config, 2 * encoding.spatial_factor(pipe.vae)
    image_tokens = max((height // factor) * (width // factor) for height, width in dataset.buckets())
    tokens = image_tokens + dataset.prompt_embeds(np.arange(1)).shape[1]
    dtype = "bfloat16" if spec.zero.bf16 or spec.autocast else "float32"
    return Shape(branches * spec.micro_batch_size, config.num_attention_heads, tokens, config.attention_head_dim, dtype)
