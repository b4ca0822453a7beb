"""Which samples a step sees."""

import numpy as np
import pytest

from bfs_platform.train.sample import order


def test_an_epoch_shows_every_sample_once() -> None:
    """Batches run on over the border of epochs, and each epoch is a permutation of its own."""
    stream = np.concatenate([order.indices(7, "natural", p, 4, [np.arange(11)]) for p in range(11)])
    for epoch in range(4):
        assert sorted(stream[epoch * 11 : (epoch + 1) * 11]) == list(range(11))
    assert list(stream[:11]) != list(stream[11:22])


def test_order_is_a_function_of_seed_data_and_position() -> None:
    """The same position gives the same batch; another seed or data set another one."""
    batch = order.indices(7, "natural", 5, 8, [np.arange(101)]).tolist()
    assert batch == order.indices(7, "natural", 5, 8, [np.arange(101)]).tolist()
    assert batch != order.indices(8, "natural", 5, 8, [np.arange(101)]).tolist()
    assert batch != order.indices(7, "synthetic", 5, 8, [np.arange(101)]).tolist()


def test_a_batch_is_of_one_size_and_an_epoch_shows_every_row() -> None:
    """Groups come mixed, as often as they have rows for; the next epoch is in another order."""
    groups = [np.arange(0, 20, 2), np.arange(1, 40, 2), np.array([40])]
    batches = [order.indices(7, "natural", p, 4, groups) for p in range(18)]  # two epochs of 3 + 5 + 1
    for epoch in (batches[:9], batches[9:]):
        assert {int(row) for batch in epoch for row in batch} == {*range(0, 20, 2), *range(1, 40, 2), 40}
        of_group = [[g for g, rows in enumerate(groups) if set(batch.tolist()) <= set(rows.tolist())] for batch in epoch]
        assert sorted(g for found in of_group for g in found) == [0] * 3 + [1] * 5 + [2]
        assert max(np.bincount(np.concatenate([b for b, (g,) in zip(epoch, of_group, strict=True) if g == 1]))) == 1
    assert [b.tolist() for b in batches[:9]] != [b.tolist() for b in batches[9:]]
    assert np.array_equal(batches[11], order.indices(7, "natural", 11, 4, groups))


def test_shares_make_up_the_batch_at_any_world_size() -> None:
    """However many workers share a batch, together they see it once, in the same order, in parts no larger than asked for."""
    batch = np.arange(12)
    for world_size, micro in ((1, 12), (2, 3), (3, 2), (4, 1), (5, 2), (7, 1)):
        parts = [order.share(batch, rank, world_size, micro) for rank in range(world_size)]
        assert np.concatenate([rows for part in parts for rows, weight in part if weight]).tolist() == batch.tolist()
        assert all(len(rows) <= micro for part in parts for rows, _ in part)
        assert {len(part) for part in parts} == {order.accumulation(12, world_size, micro)}
        assert sum(weight for part in parts for _, weight in part) == pytest.approx(1)


def test_a_worker_without_a_sample_of_its_own_keeps_step_without_weight() -> None:
    """Three samples over four workers: the fourth repeats one that does not count."""
    assert [(rows.tolist(), weight) for rows, weight in order.share(np.array([5, 6, 7]), 3, 4, 1)] == [([5], 0.0)]
