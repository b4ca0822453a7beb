"""Text for Flux: CLIP's pooled embedding and T5's token embeddings; and small tokenizers grown from a list of captions."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import CLIPTokenizer, T5Tokenizer

_END = "</w>"  # marks the last character of a word
_PLAIN_CHARACTERS = [chr(c) for c in range(33, 127)]


def clip_tokenizer(captions: Sequence[str], max_length: int) -> CLIPTokenizer:
    """A CLIP tokenizer (byte-level BPE) whose merges make each caption word one token; any other text still encodes."""
    words = [(*word[:-1], word[-1] + _END) for word in _words(captions)]
    merges = _merges(words)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(c + _END for c in alphabet), *("".join(pair) for pair in merges)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_length)


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
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # it would remember this call and write it into its file when saved
        backend.no_padding()
        backend.no_truncation()
    return torch.as_tensor(encoded.input_ids)


def _merges(words: list[tuple[str, ...]]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first and ties by text, until every word is one token."""
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in words for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = [_merged(word, best) for word in words]
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def _words(captions: Sequence[str]) -> list[str]:
    return sorted({word for caption in captions for word in caption.lower().split()})
