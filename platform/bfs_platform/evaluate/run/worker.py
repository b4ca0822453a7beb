"""What one Ray actor does: load the model once, then draw and measure record after record."""

import json
import math
import time
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.data.record import Reject
from bfs_platform.evaluate.learned.scoring import Learned
from bfs_platform.evaluate.metric.editing import editing_figures
from bfs_platform.evaluate.metric.extraction import extraction_figures
from bfs_platform.evaluate.metric.measure import measure
from bfs_platform.evaluate.metric.recogniser import find_recogniser
from bfs_platform.evaluate.report.full_size import full_size_kinds, full_size_pictures
from bfs_platform.evaluate.report.pictures import pictures, shown_kinds, small_composite
from bfs_platform.evaluate.samples import Entry, Sample, read_sample
from bfs_platform.evaluate.spec import EvaluationSpec
from bfs_platform.evaluate.system.baselines import find_baseline, system_name
from bfs_platform.evaluate.system.extraction import Extraction
from bfs_platform.evaluate.system.models import loader
from bfs_platform.evaluate.system.truth import Baseline, Model


class Evaluator:
    """A callable for `map_batches`: one record in, its figures as JSON and its pictures out."""

    def __init__(self, model: str, root: Path, spec: EvaluationSpec) -> None:
        self.root, self.spec = root, spec
        self.recogniser = find_recogniser(spec.recogniser)
        under_test = loader(spec.loader, spec.memory)(model)
        baselines = {system_name(name): find_baseline(name, spec.memory)(under_test) for name in spec.baselines}
        systems = {"model": Model(under_test)} | baselines
        self.systems = {name: self._on_task(system) for name, system in systems.items()}
        self.learned = Learned(spec.learned)
        self.kinds = (*shown_kinds(self.systems), *full_size_kinds(self.systems))

    def _on_task(self, system: Baseline) -> Baseline:
        """Models extract where the task is to extract: the one under evaluation, and those that it is compared with."""
        if self.spec.task == "extraction" and isinstance(system, Model):
            return Extraction(system.model, self.spec.joint_guidance, self.spec.refit)
        return system

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Columns in: `position`, `entry` (JSON), `shown`, `kept`. Out: `position`, `result` (JSON) and one PNG column per kind."""
        out: dict[str, list[Any]] = {"position": [], "result": [], **{kind: [] for kind in self.kinds}}
        for position, text, shown, kept in zip(batch["position"], batch["entry"], batch["shown"], batch["kept"], strict=True):
            result, images = self.evaluate(Entry.from_json(str(text)), bool(shown), bool(kept))
            out["position"].append(int(position))
            out["result"].append(json.dumps(result, allow_nan=False))
            for kind in self.kinds:
                out[kind].append(images.get(kind, b""))
        return out

    def evaluate(self, entry: Entry, shown: bool, kept: bool = False) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Evaluate one record; `shown` and `kept` say which pictures are wanted. What fails is named in `failures`; the others go on."""
        result: dict[str, Any] = {"id": entry.row.id, "caption": entry.row.caption, "groups": entry.groups, "systems": {}, "failures": []}
        try:
            sample = read_sample(entry, self.root, self.spec.max_pixels, self.spec.short_side)
        except (Reject, BadInput) as error:
            result["failures"].append({"id": entry.row.id, "system": "input", "error": _line(error)})
            return result, {}
        result |= {"box": list(sample.box), "seed": sample.seed(self.spec.seed)}
        images: dict[str, bytes] = {}
        for name in self.systems:
            images |= self._run_system(name, sample, shown, kept, result)
        return result, images

    def _run_system(self, name: str, sample: Sample, shown: bool, kept: bool, result: dict[str, Any]) -> dict[str, bytes]:
        started = time.perf_counter()
        try:
            drawn = self.systems[name].predict(sample, self.spec.seed, self.spec.steps)
            result.setdefault("seconds", {})[name] = time.perf_counter() - started
            result["systems"][name] = measure(drawn, sample, self.spec.effect_threshold, self.recogniser)
            if self.spec.task == "extraction" and drawn.has_layer:
                result["systems"][name] |= extraction_figures(drawn, sample)
            if sample.edits and drawn.has_layer and self.spec.task == "insertion":
                result["systems"][name] |= editing_figures(drawn, sample)
            self.learned.score(name, drawn, sample, result)
            _finite(result["systems"][name])
            if drawn.warnings:
                result.setdefault("warnings", {})[name] = [*drawn.warnings]
            images = full_size_pictures(name, drawn, sample, list(self.systems)) if kept else {}
            if shown and name == "model":
                images |= pictures(drawn, sample, self.spec.thumbnail_side)
            elif shown:
                images |= small_composite(name, drawn, sample, self.spec.thumbnail_side)
            return images
        except Exception as error:  # a system may fail in any way on a record; the list is evaluated all the same
            result["failures"].append({"id": sample.id, "system": name, "error": _line(error)})
            for taken in ("systems", "features"):  # half of a record's figures are none
                result.get(taken, {}).pop(name, None)
            return {}


def _finite(figures: dict[str, float | None]) -> None:
    """Raises `ValueError` naming the figure that is no number: it would spoil every mean, and JSON cannot hold it."""
    for name, value in figures.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, Reject | BadInput) else f"{type(error).__name__}: {text}"[:500]
