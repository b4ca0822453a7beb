"""Krippendorff's alpha."""

import pytest

from bfs_platform.study.agreement import krippendorff_alpha

# The example of K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C: 4 observers, 12 units, gaps.
_ = None
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level, alpha) -> None:
    """The values printed there, to their three digits."""
    assert krippendorff_alpha(PUBLISHED, level) == pytest.approx(alpha, abs=0.0005)


def test_agreement_and_disagreement() -> None:
    """Equal ratings give 1, opposite ones less than 0."""
    assert krippendorff_alpha([[1, 3, 5], [1, 3, 5]]) == pytest.approx(1)
    opposite = krippendorff_alpha([[1, 5, 1, 5], [5, 1, 5, 1]])
    assert opposite is not None and opposite < 0


def test_where_it_is_not_defined() -> None:
    """One rater, no overlap, or one value for everything leave nothing to compare."""
    assert krippendorff_alpha([[1, 2, 3]]) is None
    assert krippendorff_alpha([[1, None], [None, 2]]) is None
    assert krippendorff_alpha([[4, 4], [4, 4]]) is None
