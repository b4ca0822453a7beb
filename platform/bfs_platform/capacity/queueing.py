"""Waiting at c equal samplers that take from one queue, first come first served: Erlang C, corrected for how much drawings vary.

Requests come independently of each other. Allen and Cunneen's approximation scales the wait of M/M/c by (1 + v²)/2, where v is the
coefficient of variation of the time to draw; `tests/bfs_platform/capacity` holds it to a simulation.
"""

import math
from dataclasses import dataclass

MOST_SAMPLERS = 1_000_000


@dataclass(frozen=True)
class Queue:
    """`rate_per_s` requests a second at `samplers`, each drawing for `draw_s` seconds, with coefficient of `variation`."""

    rate_per_s: float
    draw_s: float
    samplers: int
    variation: float = 0.0

    @property
    def load(self) -> float:
        """The mean number of busy samplers, also called erlangs."""
        return self.rate_per_s * self.draw_s

    @property
    def utilisation(self) -> float:
        """The part of their time in which samplers draw; at 1 and above the queue grows without end."""
        return self.load / self.samplers

    @property
    def waiting_chance(self) -> float:
        """Erlang C: the probability that a request finds all samplers busy."""
        if self.utilisation >= 1:
            return 1.0
        # Erlang B by its recursion, which never leaves [0, 1]; C follows from it.
        inverse = 1.0
        for number in range(1, self.samplers + 1):
            inverse = 1.0 + inverse * number / self.load if self.load else math.inf
            if inverse > 1e300:
                return 0.0
        blocked = 1.0 / inverse
        return blocked / (1.0 - self.utilisation * (1.0 - blocked))

    @property
    def mean_wait_s(self) -> float:
        """Seconds in the queue, on average over all requests."""
        return self.waiting_chance * self._mean_of_those_who_wait_s

    @property
    def mean_queue(self) -> float:
        """How many wait, on average over time (Little's law)."""
        return self.rate_per_s * self.mean_wait_s

    def wait_s(self, quantile: float) -> float:
        """Seconds in the queue that a part `quantile` of the requests does not exceed; infinite for an overloaded queue."""
        chance = self.waiting_chance
        if chance <= 1.0 - quantile:
            return 0.0
        return math.log(chance / (1.0 - quantile)) * self._mean_of_those_who_wait_s

    def answer_s(self, quantile: float) -> float:
        """Seconds from request to picture, at a quantile: the wait at it and the drawing at it, which is a little too careful."""
        return self.wait_s(quantile) + self.draw_s * (1.0 + self.variation * _NORMAL_95)

    @property
    def _mean_of_those_who_wait_s(self) -> float:
        spare = self.samplers / self.draw_s - self.rate_per_s
        return math.inf if spare <= 0 else (1.0 + self.variation**2) / 2.0 / spare


_NORMAL_95 = 1.645  # standard deviations above the mean that 95 % do not exceed


def fewest(rate_per_s: float, draw_s: float, answer_s: float, variation: float = 0.0, quantile: float = 0.95) -> Queue | None:
    """The smallest number of samplers that answers a part `quantile` of the requests within `answer_s`; None where no number does."""
    if Queue(rate_per_s, draw_s, MOST_SAMPLERS, variation).answer_s(quantile) > answer_s:
        return None
    few, many = 0, max(1, math.ceil(rate_per_s * draw_s))
    while Queue(rate_per_s, draw_s, many, variation).answer_s(quantile) > answer_s:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        if Queue(rate_per_s, draw_s, middle, variation).answer_s(quantile) > answer_s:
            few = middle
        else:
            many = middle
    return Queue(rate_per_s, draw_s, many, variation)
