"""Gates: each looks at a candidate and says in one line whether it passes and why. None of them changes anything."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bfs_model.errors import IntegrityError
from bfs_platform.evaluate.metric.catalogue import is_worse_by
from bfs_platform.registry.spec import PromotionSpec, SmokeSpec

Smoke = Callable[[Path, SmokeSpec], str]


class GateFailed(Exception):
    """Why a candidate does not pass, in one line."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one gate said."""

    name: str
    passed: bool
    detail: str

    @property
    def tag(self) -> str:
        """As it stands in the registry."""
        return f"{'passed' if self.passed else 'failed'}: {self.detail}"[:5000]


def run_gate(name: str, gate: Callable[[], str]) -> Result:
    """Run a gate. `GateFailed` and `IntegrityError` are its verdicts; anything else is an error of ours and is raised."""
    try:
        return Result(name, True, gate())
    except (GateFailed, IntegrityError) as error:
        return Result(name, False, " ".join(str(error).split()))


def metrics_gate(spec: PromotionSpec, candidate: dict[str, float], champion: dict[str, float]) -> str:
    """The candidate's metrics against the thresholds, and against the champion's; those are empty where the two are not comparable."""
    if not candidate:
        if spec.require_evaluation:
            raise GateFailed("no evaluation is attached to the candidate")
        return "no evaluation is attached, and none is required"
    failures = _outside_thresholds(spec, candidate)
    compared = {name: allowed for name, allowed in spec.may_lose.items() if name in candidate and name in champion}
    for name, allowed in compared.items():
        if is_worse_by(name, candidate[name], champion[name]) > allowed:
            failures.append(f"{name} {candidate[name]:.6g} is worse than the champion's {champion[name]:.6g} by more than {allowed:g}")
    if failures:
        raise GateFailed("; ".join(failures))
    against = f"{len(compared)} metrics compared with the champion" if champion else "no champion measured alike to compare with"
    return f"{len(spec.thresholds)} thresholds kept, {against}"


def _outside_thresholds(spec: PromotionSpec, candidate: dict[str, float]) -> list[str]:
    failures = []
    for name, bound in spec.thresholds.items():
        value = candidate.get(name)
        if value is None:
            failures.append(f"{name} was not measured")
        elif not (bound.min is None or value >= bound.min) or not (bound.max is None or value <= bound.max):
            limits = [f"{word} {limit:g}" for word, limit in (("at least", bound.min), ("at most", bound.max)) if limit is not None]
            failures.append(f"{name} {value:.6g} is not {' and '.join(limits)}")
    return failures


def smoke_gate(model_dir: Path, spec: SmokeSpec) -> str:
    """Load the model and draw one layer. It fails when that raises, or when alpha is 0 or 1 everywhere and may not be."""
    import numpy as np
    from PIL import Image

    from bfs_platform.evaluate.system.models import load_pipeline

    side, quarter = spec.side, spec.side // 4
    ramp = np.broadcast_to(np.linspace(64, 192, side, dtype=np.uint8), (side, side))
    background = Image.fromarray(np.dstack([ramp, ramp.T, np.full_like(ramp, 128)]))
    try:
        model = load_pipeline(str(model_dir))
        drawn = model.draw(background, (quarter, quarter, side - quarter, side - quarter), spec.prompt, spec.seed, spec.steps)
    except IntegrityError:
        raise
    except Exception as error:  # whatever a model does wrong here, it must not be served
        raise GateFailed(f"drawing a layer raised {type(error).__name__}: {error}") from error
    alpha = np.asarray(drawn.layer)[..., 3]
    if (alpha.max() == 0 or alpha.min() == 255) and not spec.may_be_blank:
        raise GateFailed(f"alpha is {int(alpha.max()) // 255} everywhere")
    return f"drew one layer, mean alpha {alpha.mean() / 255:.3f}"
