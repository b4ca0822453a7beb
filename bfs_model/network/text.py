"""Text for Flux: CLIP's pooled embedding and T5's token embeddings; and small tokenizers grown from a list of captions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, T5Tokenizer

from bfs_model.shapes import Given

_END = "</w>"  # marks the last character of a word
_PLAIN_CHARACTERS = [chr(c) for c in range(33, 127)]


@dataclass(frozen=True)
class Unread:
    """What an encoder leaves out of a prompt. It takes `num_tokens` tokens of text: `dropped` comes after those.

    `ended`: it stopped before, at an end mark, which is also what a CLIP tokenizer makes of characters that it does not know.
    `unknown`: passages before that for which it has no tokens; it sees that there is something, and not what.
    """

    encoder: str
    num_tokens: int
    dropped: str = ""
    ended: bool = False
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dropped or self.unknown)


def clip_tokenizer(captions: Sequence[str], max_length: int) -> "CLIPTokenizer":
    """A CLIP tokenizer (byte-level BPE) whose merges make each caption word one token; any other text still encodes."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    words = [(*word[:-1], word[-1] + _END) for word in _words(captions)]
    merges = _merges(words)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(c + _END for c in alphabet), *("".join(pair) for pair in merges)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_length)


def t5_tokenizer(captions: Sequence[str], max_length: int) -> "T5Tokenizer":
    """A T5 tokenizer (unigram) that knows the caption words and, for anything else, single characters."""
    from transformers import T5Tokenizer

    vocab: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocab += [(f"▁{word}", -1.0) for word in _words(captions)]
    vocab += [(c, -10.0) for c in _PLAIN_CHARACTERS]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=max_length)


def clip_pooled(prompts: list[str], tokenizer: Any, encoder: Any) -> Tensor:
    """CLIP's pooled embedding [N, P], as diffusers' Flux pipelines use it."""
    ids = _ids(prompts, tokenizer, _clip_length(tokenizer)).to(encoder.device)
    return encoder(ids, output_hidden_states=False).pooler_output


def t5_tokens(prompts: list[str], tokenizer: Any, encoder: Any, max_length: int) -> Tensor:
    """T5's token embeddings [N, max_length, D], padded and unmasked, as diffusers' Flux pipelines use them."""
    return encoder(_ids(prompts, tokenizer, max_length).to(encoder.device), output_hidden_states=False)[0]


def clip_unread(prompt: str, tokenizer: Any) -> Unread:
    """What `clip_pooled` does not read. CLIP is pooled at the first end mark, and what follows it does not count."""
    return _unread("CLIP", prompt, tokenizer, _clip_length(tokenizer), end=tokenizer.eos_token_id)


def t5_unread(prompt: str, tokenizer: Any, max_length: int) -> Unread:
    """What `t5_tokens` does not read."""
    return _unread("T5", prompt, tokenizer, max_length, unknown=tokenizer.unk_token_id)


def _clip_length(tokenizer: Any) -> int:
    return min(int(tokenizer.model_max_length), 77)


def _unread(
    encoder: str, prompt: str, tokenizer: Any, max_length: int, end: Given[int | None] = None, unknown: Given[int | None] = None
) -> Unread:
    """Tokens know the characters that they stand for: what is cut off is told as it was written, from the start of a word."""
    room = max_length - tokenizer.num_special_tokens_to_add()
    encoded = tokenizer.backend_tokenizer.encode(prompt)
    text = [i for i, added in enumerate(encoded.special_tokens_mask) if not added]
    read = next((n for n, i in enumerate(text[:room]) if encoded.ids[i] == end), room)
    dropped = prompt[_word(prompt, encoded.offsets[text[read]][0]) :].strip() if len(text) > read else ""
    spans: list[list[int]] = []
    for start, stop in (encoded.offsets[i] for i in text[:read] if encoded.ids[i] == unknown):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = stop
        else:
            spans.append([start, stop])
    passages = dict.fromkeys(prompt[start:stop].strip() for start, stop in spans)
    return Unread(encoder, room, dropped, read < room, tuple(p for p in passages if p))


def _word(prompt: str, position: int) -> int:
    """Where the word begins that `position` splits; `position` itself where it splits none, or no word of any language."""
    begun = re.search(r"(?<!\S)\S{1,24}\Z", prompt[:position])
    return position if begun is None or prompt[position].isspace() else begun.start()


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
