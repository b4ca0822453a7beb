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
    """One layer drawn before promotion: on a plain background of `side` pixels, with a box in its middle."""

    side: int = Field(default=64, ge=16, le=2048)
    steps: int = Field(default=2, ge=1, le=100)
    seed: int = 0
    prompt: str = "a red sphere"


class PromotionSpec(Spec):
    """Gates of a promotion.

    `thresholds` bound metrics of the candidate's own evaluation. `may_lose` says by how much a metric may be worse than
    the current champion's, in its own unit; it counts only when both were evaluated on the same list. Without
    `require_evaluation`, a candidate that was never evaluated passes both.
    """

    name: str = "bfs"
    alias: str = "champion"
    smoke: SmokeSpec = SmokeSpec()
    thresholds: dict[str, Bound] = {}
    may_lose: dict[str, float] = {}
    require_evaluation: bool = False

    @model_validator(mode="after")
    def _known_metrics(self) -> "PromotionSpec":
        from bfs_platform.evaluate.catalogue import ALL

        known = {*ALL, "failed_fraction"}
        for name in [*self.thresholds, *self.may_lose]:
            if name not in known:
                raise ValueError(f"names the unknown metric {name}; known are {', '.join(sorted(known))}")
        for name, amount in self.may_lose.items():
            if amount < 0:
                raise ValueError(f"gives {name} a negative allowance")
        return self
