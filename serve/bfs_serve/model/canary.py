"""The policy of a canary: who is drawn by the candidate, and what is to be done with it after what was seen. Nothing here acts."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

from bfs_platform.registry.spec import CanarySpec
from bfs_serve.job.engine import ModelInfo
from bfs_serve.store.versions import Seen

Action = Literal["wait", "back", "promote"]
WAIT: Action = "wait"
BACK: Action = "back"
PROMOTE: Action = "promote"
TRIED = "tried"  # of what is published: versions that are being loaded, and by how many processes so far
_LEAST_TIMED = 5  # pictures of each, before their times are compared
_STUCK_TIMES = 10


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a candidate, and why, in one line."""

    action: Action
    reason: str


def chosen(champion: ModelInfo, body: Mapping[str, Any], token: str, needs: Sequence[str]) -> ModelInfo:
    """Who draws the job that `token` names: the champion, or for a share of all tokens the candidate, if it can do what is needed.

    A pure function of token and candidate: the same key gives the same version, and another candidate gets other jobs.
    """
    trial = body.get("canary")
    if not trial or is_over(trial) or trial["version"] == champion.version:
        return champion
    drawn = int.from_bytes(hashlib.sha256(f"{trial['version']}:{token}".encode()).digest()[:8]) / 2**64
    candidate = ModelInfo(**{**trial["info"], "capabilities": tuple(trial["info"]["capabilities"]), "name": champion.name})
    return candidate if drawn < trial["share"] and set(needs) <= set(candidate.capabilities) else champion


def is_over(trial: Mapping[str, Any]) -> bool:
    """Whether its share is the champion's again. One that was good keeps it until the alias has moved."""
    return bool(trial["told"] or (trial["verdict"] and not trial["verdict"]["good"]))


def untried(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is published, without the note about what was being loaded when it was written."""
    return {key: value for key, value in body.items() if key != TRIED}


def judge(rules: CanarySpec, champion: Seen, candidate: Seen, age_s: float) -> Decision:
    """After what was seen of both since the trial began, `age_s` ago.

    Taken back at once for what is worse beyond chance; promoted when its time is over, enough was drawn and nothing is worse by more
    than it may be; in between, watched on.
    """
    worse = _fails_more(rules, champion, candidate) or _is_slower(rules, champion, candidate) or _is_stuck(rules, champion, candidate)
    if worse:
        return Decision(BACK, worse)
    if age_s < rules.watch_s or candidate.succeeded < rules.min_jobs:
        return Decision(WAIT, f"{candidate.succeeded} of {rules.min_jobs} pictures in {age_s:.0f} of {rules.watch_s:.0f} s")
    more = candidate.failure_rate - champion.failure_rate
    if more > rules.may_fail_more:
        return Decision(WAIT, f"{more:.1%} more of its jobs fail, which may be chance")
    if champion.succeeded and candidate.mean_s > rules.may_take * champion.mean_s:
        return Decision(WAIT, f"it takes {candidate.mean_s:.3g} s, the champion {champion.mean_s:.3g} s, which may be chance")
    return Decision(
        PROMOTE, f"{candidate.succeeded} pictures, {candidate.failed} failures, {candidate.mean_s:.3g} s each in {age_s:.0f} s of watch"
    )


def _fails_more(rules: CanarySpec, champion: Seen, candidate: Seen) -> str:
    more = candidate.failure_rate - champion.failure_rate
    if more <= rules.may_fail_more or _chance(champion, candidate) > rules.chance:
        return ""
    return f"{candidate.failed} of {candidate.ended} jobs failed, of the champion {champion.failed} of {champion.ended}"


def _chance(champion: Seen, candidate: Seen) -> float:
    """Fisher's exact test, one-sided: how likely it is that so many of all failures, or more, fall on the candidate by chance."""
    num, failed, ours = champion.ended + candidate.ended, champion.failed + candidate.failed, candidate.ended
    least = max(candidate.failed, failed - champion.ended)
    ways = [_log_choose(failed, k) + _log_choose(num - failed, ours - k) for k in range(least, min(failed, ours) + 1)]
    whole = _log_choose(num, ours)
    return sum(math.exp(way - whole) for way in ways)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _is_slower(rules: CanarySpec, champion: Seen, candidate: Seen) -> str:
    """Whether even the least that its mean may be is more than allowed of the most that the champion's may be."""
    if min(champion.succeeded, candidate.succeeded) < _LEAST_TIMED:
        return ""
    z = NormalDist().inv_cdf(1 - rules.chance)
    if candidate.mean_s - z * candidate.error_s <= rules.may_take * (champion.mean_s + z * champion.error_s):
        return ""
    return f"it takes {candidate.mean_s:.3g} s for a picture, the champion {champion.mean_s:.3g} s"


def _is_stuck(rules: CanarySpec, champion: Seen, candidate: Seen) -> str:
    patience_s = max(rules.stuck_s, _STUCK_TIMES * champion.mean_s)
    return f"a job has been at it for {candidate.oldest_s:.0f} s" if candidate.oldest_s > patience_s else ""
