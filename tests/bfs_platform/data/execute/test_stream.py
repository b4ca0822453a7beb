"""How many actors the pools of a stream start with."""

import pytest

from bfs_platform.data.execute.stream import most_encoders, pool_sizes


@pytest.mark.parametrize(
    ("wanted", "num_pools", "num_units", "sizes"),
    [(2, 1, 100, (2, 2)), (8, 3, None, (2, 8)), (1, 4, None, (1, 1)), (8, 1, 3, (3, 3))],
)
def test_a_pool_starts_with_its_part(wanted: int, num_pools: int, num_units: int | None, sizes: tuple[int, int]) -> None:
    """Alone with all its actors, beside others with a part, never with none, nor with more than there are units."""
    assert pool_sizes(wanted, num_pools, num_units) == sizes


def test_all_pools_together_fit_the_gpus() -> None:
    """What four pools start with, of half a GPU each, fits eight GPUs: none has to wait for another to end."""
    first, most = pool_sizes(most_encoders({"GPU": 8.0}, 0.5), 4)
    assert (4 * first * 0.5, most) == (8, 16)
