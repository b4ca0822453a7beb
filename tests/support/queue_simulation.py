"""A queue, played through: requests in their order, samplers that take the next one as they get free."""

import heapq

import numpy as np

from bfs_platform.capacity.queueing import Queue


def arrivals_of(queue: Queue, requests: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """When requests come and how long each is drawn, in seconds: independent of each other, and by a gamma distribution."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / queue.rate_per_s, requests))
    if not queue.variation:
        return arrivals, np.full(requests, queue.draw_s)
    shape = queue.variation**-2
    return arrivals, rng.gamma(shape, queue.draw_s / shape, requests)


def waits_of(samplers: int, arrivals: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Seconds that each request waits, first come first served."""
    free = [0.0] * samplers
    waits = np.empty(len(arrivals))
    for i, (arrival, draw) in enumerate(zip(arrivals.tolist(), draws.tolist(), strict=True)):
        begin = max(arrival, heapq.heappop(free))
        heapq.heappush(free, begin + draw)
        waits[i] = begin - arrival
    return waits
