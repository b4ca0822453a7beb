"""Small tokenizers of the real classes."""

from bfs_model.text import clip_tokenizer, t5_tokenizer

CAPTIONS = ["a small red glossy plastic sphere", "a large green glass cone", "a medium grey brushed metal ring"]


def test_caption_words_are_single_tokens() -> None:
    """Every word of the captions is one token of either tokenizer, whatever other words it shares letters with."""
    clip, t5 = clip_tokenizer(CAPTIONS, 32), t5_tokenizer(CAPTIONS, 16)
    for caption in CAPTIONS:
        words = caption.split()
        assert len(clip(caption).input_ids) == len(words) + 2
        assert len(t5(caption).input_ids) == len(words) + 1


def test_any_text_encodes() -> None:
    """Unknown words, other scripts and nothing at all give tokens, never an error."""
    clip, t5 = clip_tokenizer(CAPTIONS, 32), t5_tokenizer(CAPTIONS, 16)
    for text in ("zorp", "赤い球 🔴", "", "a" * 500):
        for tokenizer, length in ((clip, 32), (t5, 16)):
            assert len(tokenizer(text, padding="max_length", max_length=length, truncation=True).input_ids) == length
    assert clip("red").input_ids != clip("green").input_ids
