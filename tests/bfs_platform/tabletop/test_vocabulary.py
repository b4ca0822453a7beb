"""Words, captions and the split of the combinations."""

import pytest

from bfs_model.errors import BadInput
from bfs_platform.tabletop.vocabulary import COLOURS, MATERIALS, SIZES, SPLITS, WORLDS, Combination, caption, combinations, split_of


@pytest.mark.parametrize("world", WORLDS)
def test_every_combination_belongs_to_exactly_one_split(world: int) -> None:
    """The splits share no combination, and together they hold all of them."""
    parts = [set(combinations(split, world)) for split in SPLITS]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(WORLDS[world]) * len(COLOURS) * len(MATERIALS)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_word_occurs_in_every_split(split: str, world: int) -> None:
    """What is held out is a combination: each shape, colour and material alone is known from training."""
    shapes, colours, materials = (set(words) for words in zip(*combinations(split, world), strict=True))
    assert (shapes, colours, materials) == (set(WORLDS[world]), set(COLOURS), set(MATERIALS))


def test_splits_stay_as_they_are() -> None:
    """A combination never changes its split, or a model would be tested on what it was trained on."""
    assert {split: len(combinations(split)) for split in SPLITS} == {"train": 566, "validation": 76, "heldout": 78}
    first, second = (set(combinations("heldout", world)) for world in (1, 2))
    assert first < second and len(second) == 122
    assert split_of(Combination("sphere", "red", "plastic")) == "train"
    assert combinations("validation")[0] == Combination("sphere", "orange", "brushed metal")
    assert combinations("heldout")[0] == Combination("sphere", "red", "metal")


def test_a_caption_names_everything() -> None:
    """The caption holds size, colour, material and shape in the order people use."""
    assert caption("small", Combination("sphere", "red", "plastic")) == "a small red glossy plastic sphere"
    assert caption("large", Combination("cone", "blue", "glass")) == "a large blue glass cone"


def test_sizes_do_not_overlap_and_fit_the_frame() -> None:
    """Small, medium and large are told apart by their extent in the picture: 18 to 40 pixels of 64."""
    bounds = [bound for size in ("small", "medium", "large") for bound in SIZES[size]]
    assert bounds == sorted(bounds) and bounds[0] * 64 > 18 and bounds[-1] * 64 < 40


def test_an_unknown_split_is_refused() -> None:
    """A misspelt split names the ones there are."""
    with pytest.raises(BadInput, match="train, validation, heldout"):
        combinations("test")
