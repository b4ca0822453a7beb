"""Small tokenizers of the real classes."""

from bfs_model.network.text import Unread, clip_tokenizer, clip_unread, t5_tokenizer, t5_unread

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


def test_clip_names_what_it_does_not_read() -> None:
    """From the word that no longer fits, as it was written; nothing when the last token just fits."""
    clip = clip_tokenizer(CAPTIONS, 32)
    assert not clip_unread("red " * 30, clip)
    assert clip_unread("red  " * 30 + "Green\tcone ", clip) == Unread("CLIP", 30, "Green\tcone")
    assert clip_unread("red " * 28 + "wxyz cone", clip).dropped == "wxyz cone"  # two of its four letters would fit
    assert clip_unread("q" * 50, clip).dropped == "q" * 20


def test_clip_stops_at_an_end_mark() -> None:
    """What stands behind one does not change the embedding, so it counts as not read."""
    assert clip_unread("red <|endoftext|> cone", clip_tokenizer(CAPTIONS, 32)) == Unread("CLIP", 30, "<|endoftext|> cone", ended=True)


def test_t5_names_what_it_does_not_read() -> None:
    """What does not fit, and words of scripts that it has no tokens for."""
    t5 = t5_tokenizer(CAPTIONS, 16)
    assert not t5_unread("red " * 15, t5, 16)
    assert t5_unread("red " * 15 + "cone", t5, 16) == Unread("T5", 15, "cone")
    assert t5_unread("赤い球 red 🔴 cone", t5, 16) == Unread("T5", 15, unknown=("赤い球", "🔴"))
    assert not t5_unread("", t5, 16) and not t5_unread("zorp!", t5, 16)
