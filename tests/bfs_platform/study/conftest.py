"""A small evaluation with kept pictures, made by the evaluation's own parts without Ray."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model import integrity
from bfs_platform.evaluate.report.full_size import write_full_size
from bfs_platform.evaluate.report.results import KIND, assemble, systems_of, write_results
from bfs_platform.evaluate.run.worker import Evaluator
from bfs_platform.evaluate.samples import frozen_list, list_entries
from bfs_platform.evaluate.spec import EvaluationSpec

MakeEvaluation = Callable[..., Path]
DISC = "bfs_platform.evaluate.system.fakes:load_fake_disc"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four records of 24 × 24 in RORem's layout; the fake fails on the last one."""
    root = tmp_path_factory.mktemp("study") / "source"
    records = []
    for index in range(4):
        picture = np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        mask = np.zeros((24, 24), np.uint8)
        mask[8:16, 6:14] = 255
        record = {"caption": "fail" if index == 3 else f"a <b>cube</b> number {index}"}
        for kind, pixels in (("source", picture), ("GT", picture // 2), ("mask", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            record[kind] = f"{kind}/{index:03d}.png"
            Image.fromarray(pixels).save(root / record[kind])
        records.append(record)
    (root / "meta.json").write_text(json.dumps(records))
    return root


@pytest.fixture
def make_evaluation(source: Path, tmp_path: Path) -> MakeEvaluation:
    """Evaluate the fake on the source beside other systems; all records are kept."""

    def make(name: str = "first", baselines: tuple[str, ...] = ("identity", "truth"), seed: int = 0, **changes: Any) -> Path:
        spec = EvaluationSpec(**{"loader": DISC, "recogniser": None, "baselines": baselines, "seed": seed, "kept_records": 4} | changes)
        entries = list_entries(source)
        evaluator = Evaluator("fake", source, spec)
        rows, images = zip(*(evaluator.evaluate(e, False, i < spec.kept_records) for i, e in enumerate(entries)), strict=True)
        folder = tmp_path / name
        folder.mkdir()
        write_results(assemble(rows, entries, spec, {"uri": "models:/secret/7", "kind": "model", "content_hash": "ab" * 32}), folder)
        (folder / "list.json").write_text(json.dumps(frozen_list(entries)))
        write_full_size(dict(enumerate(images)), systems_of(spec), folder)
        integrity.write_manifest(folder, KIND, {"name": name})
        return folder

    return make
