"""What a candidate must pass before an alias moves to it."""

from pydantic import Field, model_validator

from bfs_platform.config import Spec


class Bound(Spec):
    """The range in which a metric must lie, ends included."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> "Bound":
        if self.min is None and self.max is None:
            raise ValueError("bounds nothing: set min or max")
        return self


class SmokeSpec(Spec):
    """One layer drawn before promotion: on a plain background of `side` pixels, with a box in its middle.

    It must show something and leave something out, unless `may_be_blank`: a few steps from random weights teach neither.
    """

    side: int = Field(default=64, ge=16, le=2048)
    steps: int = Field(default=2, ge=1, le=100)
    seed: int = 0
    prompt: str = "a red sphere"
    may_be_blank: bool = False


class CanarySpec(Spec):
    """How a service tries a candidate on some of what people order, before it becomes champion.

    `share` of new jobs is drawn by the candidate for `watch_s` seconds and `min_jobs` of its pictures at least. It is taken back when
    more of its jobs fail than of the champion's, by more than `may_fail_more` and beyond chance (`chance`), or when its pictures take
    more than `may_take` times as long, or when one of its jobs makes no end within ten times what the champion's take, `stuck_s` at least.
    """

    share: float = Field(default=0.1, gt=0, le=0.5)
    watch_s: float = Field(default=3600.0, ge=0, le=30 * 86400)
    min_jobs: int = Field(default=50, ge=1, le=1_000_000)
    may_fail_more: float = Field(default=0.01, ge=0, le=1)
    may_take: float = Field(default=1.5, ge=1)
    chance: float = Field(default=0.01, gt=0, lt=0.5)
    stuck_s: float = Field(default=120.0, gt=0)


class PromotionSpec(Spec):
    """Gates of a promotion.

    `thresholds` bound metrics of the candidate's own evaluation. `may_lose` says by how much a metric may be worse than
    the current champion's, in its own unit; it counts only when both were evaluated on the same list. Without
    `require_evaluation`, a candidate that was never evaluated passes both.

    Where both were evaluated in one run, `may_lose` bounds the loss on paired records, with `confidence`: see `registry.contest`.
    `canary`: how the service tries what passed; null moves the alias at once.
    """

    name: str = "bfs"
    alias: str = "champion"
    smoke: SmokeSpec = SmokeSpec()
    thresholds: dict[str, Bound] = {}
    may_lose: dict[str, float] = {}
    require_evaluation: bool = False
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=100, le=100_000)
    resampling_seed: int = Field(default=0, ge=0)
    min_pairs: int = Field(default=20, ge=2)
    canary: CanarySpec | None = None

    @model_validator(mode="after")
    def _known_metrics(self) -> "PromotionSpec":
        from bfs_platform.evaluate.metric.catalogue import known as known_metrics

        known = {*known_metrics(), "failed_fraction"}
        for name in [*self.thresholds, *self.may_lose]:
            if name not in known:
                raise ValueError(f"names the unknown metric {name}; known are {', '.join(sorted(known))}")
        for name, amount in self.may_lose.items():
            if amount < 0:
                raise ValueError(f"gives {name} a negative allowance")
        return self
