"""KID on numbers."""

import numpy as np
import pytest

from bfs_platform.evaluate.learned.kid import kid, squared_mmd


def test_squared_mmd_equals_torchmetrics() -> None:
    """The value that `poly_mmd` of torchmetrics 1.9.0 (`torchmetrics.image.kid`) gives for these features with its defaults."""
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((11, 7)), generator.standard_normal((11, 7)) * 1.5 + 0.25
    assert squared_mmd(x, y) == pytest.approx(0.1580598643181661, abs=1e-12)


def test_squared_mmd_by_hand() -> None:
    """Two features of one dimension each: k(1, 2) = 27, k(0, 1) = 1 and the four mixed values 1, 1, 8, 27 (of (xy + 1)³)."""
    mixed = [(x * y + 1) ** 3 for x in (1, 2) for y in (0, 1)]
    assert squared_mmd(np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])) == pytest.approx(27 + 1 - 2 * sum(mixed) / 4)


def test_it_is_unbiased() -> None:
    """Two samples of one distribution are at distance zero on average, whatever their size; a shifted one is not."""
    features = np.random.default_rng(1).standard_normal((400, 2, 12, 3))
    values = [squared_mmd(first, second) for first, second in features]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert np.mean([squared_mmd(first + 1, second) for first, second in features]) > 1


def test_subsets_depend_on_the_seed_alone() -> None:
    """The same seed gives the same figure, another seed another one; the size of subsets follows the number of records."""
    found, wanted = np.random.default_rng(2).standard_normal((2, 30, 5))
    first, again, other = (kid(found, wanted, 8, 10, seed) for seed in (0, 0, 1))
    assert first is not None and first == again and other is not None and first.mean != other.mean
    assert (first.subsets, first.subset_size) == (8, 10) and first.std is not None and first.std > 0
    few = kid(found, wanted, 8, 1000, 0)
    assert few is not None and few.subset_size == 15
    assert kid(found[:3], wanted[:3], 8, 10, 0) is None


def test_pairs_of_few_records_do_not_pull_it_down() -> None:
    """Each picture is close to its own truth, and both sets are of one distribution: the distance is zero all the same."""
    values = []
    for seed in range(40):
        wanted = np.random.default_rng(seed).standard_normal((20, 16))
        found = wanted + 0.05 * np.random.default_rng(seed + 1000).standard_normal((20, 16))
        estimate = kid(found, wanted, 10, 1000, seed)
        assert estimate is not None
        values.append(estimate.mean)
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_the_mean_over_subsets_is_near_the_whole() -> None:
    """Subsets estimate the distance of the full sets."""
    generator = np.random.default_rng(3)
    found, wanted = generator.standard_normal((60, 4)), generator.standard_normal((60, 4)) + 0.7
    estimate = kid(found, wanted, 200, 30, 0)
    assert estimate is not None and estimate.std is not None
    assert estimate.mean == pytest.approx(squared_mmd(found, wanted), abs=4 * estimate.std / np.sqrt(200) + 0.1)
