"""What is decided about a candidate, as values: who draws a job, and whether it is taken back, promoted or watched on."""

import random
from dataclasses import asdict, replace
from typing import Any

import pytest

from bfs_platform.registry.spec import CanarySpec
from bfs_serve.job.engine import ModelInfo
from bfs_serve.model.canary import BACK, PROMOTE, WAIT, chosen, is_over, judge
from bfs_serve.store.versions import Seen

RULES = CanarySpec(share=0.2, watch_s=600, min_jobs=20, may_fail_more=0.02, may_take=1.5, stuck_s=60)
LATER = RULES.watch_s + 1


def timed(num: int, mean_s: float, spread_s: float = 0.1, failed: int = 0, oldest_s: float = 0.0) -> Seen:
    """`num` pictures with this mean and standard deviation."""
    return Seen(num, failed, num * mean_s, num * (mean_s**2 + spread_s**2), oldest_s)


GOOD = timed(200, 2.0)


@pytest.mark.parametrize(
    ("champion", "candidate", "age_s", "action", "reason"),
    [
        (GOOD, timed(50, 2.0), LATER, PROMOTE, "50 pictures"),
        (GOOD, timed(50, 2.0), LATER - 2, WAIT, "of 600 s"),  # its time is not over
        (GOOD, timed(19, 2.0), LATER, WAIT, "19 of 20 pictures"),  # too few, however long that takes
        (GOOD, timed(20, 2.0, failed=4), 5, BACK, "4 of 24 jobs failed, of the champion 0 of 200"),
        (GOOD, timed(0, 0.0, failed=3), 5, BACK, "3 of 3 jobs failed"),
        (timed(3, 2.0), timed(2, 2.0, failed=1), 5, WAIT, "pictures"),  # one failure of so few says nothing
        (timed(200, 2.0, failed=40), timed(30, 2.0, failed=6), LATER, PROMOTE, "6 failures"),  # the champion fails as often
        (timed(40, 2.0), timed(30, 2.0, failed=1), LATER, WAIT, "may be chance"),  # more failures, but one: neither good nor bad
        (GOOD, timed(20, 4.0), 5, BACK, "it takes 4 s for a picture, the champion 2 s"),
        (GOOD, timed(20, 2.8), LATER, PROMOTE, "2.8 s each"),  # slower, within what is allowed
        (GOOD, timed(4, 9.0), 5, WAIT, "pictures"),  # too few to compare
        (GOOD, timed(20, 3.3, spread_s=3.0), LATER, WAIT, "may be chance"),
        (GOOD, timed(5, 2.0, oldest_s=59), 5, WAIT, "pictures"),
        (GOOD, timed(0, 0.0, oldest_s=61), 5, BACK, "has been at it for 61 s"),
        (timed(9, 30.0), timed(0, 0.0, oldest_s=250), 5, WAIT, "pictures"),  # pictures take that long here
        (Seen(), timed(30, 2.0), LATER, PROMOTE, "30 pictures"),  # nobody asked for the champion
    ],
)
def test_what_is_decided(champion: Seen, candidate: Seen, age_s: float, action: str, reason: str) -> None:
    """By error rate, time and jobs that make no end, beyond chance; the reason carries the numbers."""
    decision = judge(RULES, champion, candidate, age_s)
    assert decision.action == action and reason in decision.reason, decision


def test_a_candidate_that_is_as_good_is_rarely_taken_back() -> None:
    """Looked at after every job, of a hundred equal candidates with a failure rate of 5 % few are taken back; a bad one always is."""

    def taken_back(rate: float, seed: int) -> bool:
        rng, champion, candidate = random.Random(seed), Seen(), Seen()
        for _ in range(400):
            ours = rng.random() < 0.2
            failed = rng.random() < (rate if ours else 0.05)
            seen = candidate if ours else champion
            seen = replace(seen, failed=seen.failed + 1) if failed else replace(seen, succeeded=seen.succeeded + 1)
            champion, candidate = (champion, seen) if ours else (seen, candidate)
            if judge(RULES, champion, candidate, 5).action == BACK:
                return True
        return False

    assert sum(taken_back(0.05, seed) for seed in range(100)) <= 10
    assert all(taken_back(0.6, seed) for seed in range(100))


INFO = ModelInfo("fake", "v1")


def body(share: float = 0.25, version: str = "v2", **changes: Any) -> dict[str, Any]:
    """What is published while `version` is tried."""
    trial = {"version": version, "share": share, "info": asdict(ModelInfo("fake", version)), "verdict": None, "told": False}
    return {"canary": trial | changes}


def versions(published: dict[str, Any], num: int = 4000, needs: tuple[str, ...] = ()) -> list[str]:
    return [chosen(INFO, published, f"job-{i}", needs).version for i in range(num)]


def test_a_share_of_jobs_is_drawn_by_the_candidate() -> None:
    """That share, the same jobs each time, and other ones of another candidate."""
    drawn = versions(body())
    assert abs(drawn.count("v2") / len(drawn) - 0.25) < 0.03 and drawn == versions(body())
    others = versions(body(version="v3"))
    assert [v == "v1" for v in drawn] != [v == "v1" for v in others]
    assert versions({}) == ["v1"] * 4000


def test_a_candidate_draws_what_it_can() -> None:
    """A capability that it lacks is the champion's to show."""
    assert set(versions(body(), needs=("reference",))) == {"v1"}


@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({}, False),
        ({"verdict": {"good": True, "reason": ""}}, False),  # until the alias has moved
        ({"verdict": {"good": False, "reason": ""}}, True),
        ({"verdict": {"good": True, "reason": ""}, "told": True}, True),
    ],
)
def test_a_verdict_ends_the_share(changes: dict[str, Any], over: bool) -> None:
    """At once when it is bad."""
    published = body(**changes)
    assert is_over(published["canary"]) is over and (set(versions(published)) == {"v1"}) is over
