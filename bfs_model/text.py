"""Text for Flux: CLIP's pooled embedding and T5's token embeddings; and small tokenizers grown from a list of captions."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer, T5Tokenizer

_PLAIN_CHARACTERS = [chr(c) for c in range(33, 127)]


def clip_tokenizer(captions: Sequence[str], max_length: int) -> CLIPTokenizer:
    """A CLIP tokenizer (byte-level BPE) whose merges make each caption word one token; any other text still encodes."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    trained.train_from_iterator([" ".join(_words(captions))], trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=max_length)


def t5_tokenizer(captions: Sequence[str], max_length: int) -> T5Tokenizer:
    """A T5 tokenizer (unigram) that knows the caption words and, for anything else, single characters."""
    vocab: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocab += [(f"▁{word}", -1.0) for word in _words(captions)]
    vocab += [(c, -10.0) for c in _PLAIN_CHARACTERS]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=max_length)


def clip_pooled(prompts: list[str], tokenizer: Any, encoder: Any) -> Tensor:
    """CLIP's pooled embedding [N, P], as diffusers' Flux pipelines use it."""
    ids = _ids(prompts, tokenizer, min(tokenizer.model_max_length, 77)).to(encoder.device)
    return encoder(ids, output_hidden_states=False).pooler_output


def t5_tokens(prompts: list[str], tokenizer: Any, encoder: Any, max_length: int) -> Tensor:
    """T5's token embeddings [N, max_length, D], padded and unmasked, as diffusers' Flux pipelines use them."""
    return encoder(_ids(prompts, tokenizer, max_length).to(encoder.device), output_hidden_states=False)[0]


def _ids(prompts: list[str], tokenizer: Any, max_length: int) -> Tensor:
    encoded = tokenizer(prompts, padding="max_length", max_length=max_length, truncation=True, return_tensors="pt")
    return torch.as_tensor(encoded.input_ids)


def _words(captions: Sequence[str]) -> list[str]:
    return sorted({word for caption in captions for word in caption.lower().split()})
