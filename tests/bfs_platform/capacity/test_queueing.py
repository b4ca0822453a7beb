"""The model of the queue against numbers that are known, and against a simulation."""

import numpy as np
import pytest
from queue_simulation import arrivals_of, waits_of

from bfs_platform.capacity.queueing import Queue, fewest


def _simulated(queue: Queue, requests: int, seed: int) -> np.ndarray:
    """Waits in seconds, once the queue has filled."""
    return waits_of(queue.samplers, *arrivals_of(queue, requests, seed))[requests // 10 :]


def test_erlang_c_of_the_tables() -> None:
    """Published values: 10 erlangs at 12 agents wait with probability 0.4494; one server waits with its utilisation."""
    assert Queue(10.0, 1.0, 12).waiting_chance == pytest.approx(0.4494, abs=5e-5)
    assert Queue(0.7, 1.0, 1).waiting_chance == pytest.approx(0.7, abs=1e-12)
    assert Queue(2.0, 1.0, 2).wait_s(0.95) == np.inf


def test_the_wait_at_one_server_is_exact() -> None:
    """Pollaczek and Khinchine's formula: Allen and Cunneen's is the same there, whatever the variation."""
    for variation in (0.0, 0.5, 1.0, 2.0):
        queue = Queue(0.8, 1.0, 1, variation)
        assert queue.mean_wait_s == pytest.approx(0.8 * (1 + variation**2) / (2 * (1 - 0.8)))


@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("samplers", "utilisation"), [(1, 0.7), (4, 0.8), (16, 0.9), (64, 0.95)])
def test_the_model_is_within_fifteen_percent_of_a_simulation(samplers: int, utilisation: float, variation: float) -> None:
    """The 95th percentile from request to picture, which is what `bfs capacity` promises; the model may be careful, hardly bold."""
    queue = Queue(utilisation * samplers / 3.0, 3.0, samplers, variation)
    waits = [np.quantile(_simulated(queue, 60_000, seed), 0.95) for seed in range(3)]
    assert queue.wait_s(0.95) + queue.draw_s == pytest.approx(np.mean(waits) + queue.draw_s, rel=0.15)


def test_the_fewest_samplers_are_enough_and_one_less_is_not() -> None:
    """For 200 requests a second of three seconds each, within eight."""
    queue = fewest(200.0, 3.0, 8.0, 0.1)
    assert queue is not None and queue.answer_s(0.95) <= 8.0
    assert Queue(200.0, 3.0, queue.samplers - 1, 0.1).answer_s(0.95) > 8.0
    simulated = np.quantile(_simulated(queue, 150_000, 5), 0.95) + 3.0 * (1 + 0.1645)
    assert simulated <= 8.0 * 1.15


def test_more_samplers_never_wait_longer() -> None:
    """Monotone over a wide range, huge numbers included."""
    answers = [Queue(200.0, 3.0, samplers, 0.3).answer_s(0.95) for samplers in (601, 610, 650, 800, 2000, 10_000)]
    assert answers == sorted(answers, reverse=True) and answers[-1] == pytest.approx(3.0 * (1 + 0.3 * 1.645))


def test_no_number_is_enough_for_less_than_a_drawing() -> None:
    """Two seconds are not three."""
    assert fewest(1.0, 3.0, 2.0) is None
