"""The learned metrics of an evaluation: checked once, taken record by record, and gathered for the whole list."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.learned.encoders import Clip, Dino, FeatureExtractor, cosine
from bfs_platform.evaluate.learned.foreign import FOREIGN, Absent, ForeignScorer, probe
from bfs_platform.evaluate.learned.kid import kid
from bfs_platform.evaluate.learned.spec import LearnedSpec
from bfs_platform.evaluate.learned.weights import find_weights, identity
from bfs_platform.evaluate.metric.catalogue import LEARNED
from bfs_platform.evaluate.metric.measure import judged
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn, imported

Row = Mapping[str, Any]
BACKDROPS = {"clip_white": 255, "clip_grey": 128}  # what a layer is laid on; the paper does not say which
_MODEL_TYPES = {"clip": "clip", "dino": "dinov2"}


def check_learned(spec: LearnedSpec) -> dict[str, Any]:
    """Find everything before the first record is drawn.

    Returns: `weights` (name and sha256 by role), `packages` (versions by package) and `absent` (why, by metric).
    Raises: `BadInput` for a folder that is none, a function that cannot be imported or a KID without its features.
    """
    facts: dict[str, Any] = {"weights": {}, "packages": {}, "absent": {}}
    for role, metrics in (("clip", tuple(BACKDROPS)), ("dino", ("dino",))):
        name = getattr(spec, role)
        if name is None:
            facts["absent"] |= dict.fromkeys(metrics, f"learned.{role} names no weights")
        else:
            folder = find_weights(f"learned.{role}", name, _MODEL_TYPES[role])
            facts["weights"][role] = {"name": folder.name if Path(name).is_dir() else name, "sha256": identity(folder)}
    if spec.kid is None:
        facts["absent"]["kid"] = "learned.kid names no features"
    else:
        _check_kid(spec, spec.kid)
    for package, metrics in FOREIGN.items():
        interpreter = getattr(spec, package)
        try:
            if interpreter is None:
                raise Absent(f"learned.{package} names no environment")
            facts["packages"][package] = probe(package, interpreter)
        except Absent as reason:
            facts["absent"] |= dict.fromkeys(metrics, str(reason))
    return facts


def present(spec: LearnedSpec, facts: Mapping[str, Any]) -> LearnedSpec:
    """`spec` without the packages that `check_learned` found absent, which is said once; what workers lack is said per record."""
    return spec.model_copy(update={package: None for package in FOREIGN if package not in facts["packages"]})


def _check_kid(spec: LearnedSpec, features: str) -> None:
    if features in _MODEL_TYPES:
        if getattr(spec, features) is None:
            raise BadInput("learned.kid", features, f"needs learned.{features}", f"--set learned.{features}=FOLDER")
    else:
        imported("learned.kid", features)


class Learned:
    """The loaded networks of one worker."""

    def __init__(self, spec: LearnedSpec) -> None:
        self.clip: Clip | None = None
        self.dino: Dino | None = None
        self.extractor: FeatureExtractor | None = None
        self.scorers: list[ForeignScorer] = []
        if spec.clip or spec.dino or spec.kid:
            import torch

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            if spec.clip:
                self.clip = Clip(find_weights("learned.clip", spec.clip, "clip"), device)
            if spec.dino:
                self.dino = Dino(find_weights("learned.dino", spec.dino, "dinov2"), device)
            if spec.kid:
                _check_kid(spec, spec.kid)
                own: dict[str, FeatureExtractor | None] = {"clip": self.clip, "dino": self.dino}
                self.extractor = own[spec.kid] if spec.kid in own else cast("FeatureExtractor", imported("learned.kid", spec.kid)(device))
        self.lost: dict[str, str] = {}  # packages that are there and whose networks this worker cannot load, and why
        for package in FOREIGN:
            if getattr(spec, package) is not None:
                try:
                    self.scorers.append(ForeignScorer(package, getattr(spec, package)))
                except (Absent, RuntimeError) as error:
                    self.lost[package] = f"cannot be loaded: {error}"[:500]
        self._truths: tuple[str, dict[str, np.ndarray]] = ("", {})

    def score(self, system: str, drawn: Drawn, sample: Sample, result: dict[str, Any]) -> None:
        """Add this system's figures to `result["systems"]`, features for KID to `result["features"]`, faults to `result["failures"]`."""
        figures: dict[str, float | None] = {}
        picture, truth = judged(drawn, sample)
        if self.clip is not None:
            scored = drawn.has_layer and bool(sample.caption.strip())
            for name, level in BACKDROPS.items():
                figures[name] = self.clip.score(flattened(np.asarray(drawn.layer), level), sample.caption) if scored else None
        if self.dino is not None:
            figures["dino"] = cosine(self.dino.features(picture), self._truth(self.dino, sample, truth))
        if self.extractor is not None:
            pair = [self.extractor.features(picture), self._truth(self.extractor, sample, truth)]
            result.setdefault("features", {})[system] = [_packed(vector) for vector in pair]
        faults = dict(self.lost)
        for scorer in self.scorers:
            try:
                figures |= scorer.score(picture, sample.caption)
            except RuntimeError as error:
                faults[scorer.package] = str(error)[:500]
        for package, fault in faults.items():
            result["failures"].append({"id": sample.id, "system": f"{system}: {package}", "error": fault})
            figures |= dict.fromkeys(FOREIGN[package])
        result["systems"][system] |= figures

    def _truth(self, extractor: FeatureExtractor, sample: Sample, truth: np.ndarray) -> np.ndarray:
        """Features of the target, taken once per record and not once per system."""
        if self._truths[0] != sample.id:
            self._truths = (sample.id, {})
        key = f"{extractor.name} {'composite' if truth is sample.truth else 'background'}"
        if key not in self._truths[1]:
            self._truths[1][key] = extractor.features(truth)
        return self._truths[1][key]


def flattened(layer: np.ndarray, level: int) -> np.ndarray:
    """A layer (uint8 [H, W, 4]) on a plain grey of `level`."""
    return composite_u8(layer, np.full((*layer.shape[:2], 3), level, np.uint8))


def corpus(rows: Sequence[Row], spec: LearnedSpec, seed: int, systems: Sequence[str]) -> dict[str, Any]:
    """KID of each system over the records that it delivered: `mean`, `std` over subsets (both ×1000), `n`, `subsets`, `subset_size`."""
    out: dict[str, Any] = {}
    for system in systems:
        pairs = [row["features"][system] for row in rows if system in row.get("features", {})]
        if not pairs:
            continue
        found, wanted = (np.stack([_unpacked(pair[side]) for pair in pairs]) for side in (0, 1))
        distance = kid(found, wanted, spec.kid_subsets, spec.kid_subset_size, seed)
        if distance is not None:
            spread = None if distance.std is None else 1000 * distance.std
            facts = {"subsets": distance.subsets, "subset_size": distance.subset_size}
            out[system] = {"mean": 1000 * distance.mean, "std": spread, "n": len(pairs), **facts}
    return out


def learned_names(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """The learned metrics that occur in any of `figures`, in the order of the catalogue."""
    return [name for name in LEARNED if any(name in row for row in figures)]


def _packed(vector: np.ndarray) -> str:
    if not np.isfinite(vector).all():
        raise ValueError("the features for KID hold NaN or infinite values")
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")
