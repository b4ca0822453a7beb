"""The command line of `jobs/train_critic.py`: from the kept pictures of two evaluations to one figure per system."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box, bounding_box
from bfs_platform.config import resolve
from bfs_platform.console.screen import say
from bfs_platform.evaluate.report.full_size import COMPOSITE, FOLDER, INPUT, folder_of
from bfs_platform.evaluate.report.results import KIND as EVALUATION
from bfs_platform.evaluate.report.results import read_results
from bfs_platform.evaluate.run.critic import REAL, Pairs, judge
from bfs_platform.evaluate.spec import CriticSpec
from bfs_platform.jobs import JobParser

KIND = "critic"


def main(arguments: list[str] | None = None) -> Path:
    """Train critics on one evaluation, judge on another, and return the path of the manifest."""
    parser = JobParser(prog="train_critic.py", description=__doc__)
    parser.add_argument("--recipe", default="critic")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--train", required=True, type=Path, help="evaluation to train on, made with kept_records and baseline truth")
    parser.add_argument("--held-out", required=True, type=Path, help="another such evaluation, on other scenes, to judge on")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args(arguments)
    spec = resolve(given.recipe, given.set, CriticSpec)
    integrity.check_free(given.output, KIND)
    folders = {"train": given.train, "held_out": given.held_out}
    manifests = {name: integrity.verify(folder, EVALUATION) for name, folder in folders.items()}
    if manifests["train"]["body"]["list_hash"] == manifests["held_out"]["body"]["list_hash"]:
        raise BadInput("held-out", given.held_out, "shows the scenes that are trained on", "evaluate on other scenes")
    if manifests["train"]["body"]["model"]["content_hash"] != manifests["held_out"]["body"]["model"]["content_hash"]:
        raise BadInput("held-out", given.held_out, "is of another model", "evaluate the same model on both sets of scenes")
    torch.use_deterministic_algorithms(True)
    pairs = {name: read_pairs(folder, spec) for name, folder in folders.items()}
    systems = [name for name in pairs["train"] if name in pairs["held_out"]]
    found = judge({name: pairs["train"][name] for name in systems}, pairs["held_out"], spec)
    for name, figures in found.items():
        say(f"  {name:10} AUC {figures['auc']} ± {figures['spread']}")
    body: dict[str, Any] = {
        "evaluations": {name: manifest["content_hash"] for name, manifest in manifests.items()},
        "num_scenes": {name: len(next(iter(of.values())).real) for name, of in pairs.items()},
        "recipe": spec.resolved(),
        "systems": found,
    }
    with integrity.staged(given.output, KIND) as staging:
        (staging / "critic.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        return integrity.commit(staging, given.output, KIND, body)


def read_pairs(folder: Path, spec: CriticSpec) -> dict[str, Pairs]:
    """The crops of each system of an evaluation but `truth`, beside the true ones, of all scenes for which both were kept.

    Raises `BadInput` when the evaluation kept no pictures, or none of the truth.
    """
    systems = list(read_results(folder)["systems"])
    if REAL not in systems:
        raise BadInput("train", folder, "has no true composites", "evaluate with baseline truth")
    places = {name: f"{folder_of(number, name)}/{COMPOSITE}.png" for number, name in enumerate(systems)}
    scenes = sorted((folder / FOLDER).glob("*"))
    if not scenes:
        raise BadInput("train", folder, "kept no pictures", "evaluate with kept_records=200")
    # The background is kept with what the first system made: where that failed, there is none.
    needed = (f"{INPUT}.png", places[REAL])
    scenes = [scene for scene in scenes if all((scene / name).exists() for name in needed)]
    boxes = [_changed(_picture(scene / f"{INPUT}.png"), _picture(scene / places[REAL])) for scene in scenes]
    pairs = {}
    for name in systems:
        both = [(scene, box) for scene, box in zip(scenes, boxes, strict=True) if (scene / places[name]).exists()]
        if name == REAL or len(both) < 2:
            continue
        crops = {kind: torch.stack([_crop(scene / places[kind], box, spec) for scene, box in both]) for kind in (REAL, name)}
        pairs[name] = Pairs(crops[REAL], crops[name])
    if not pairs:
        raise BadInput("train", folder, "kept pictures of fewer than two scenes of any system", "evaluate with kept_records=200")
    return pairs


def _changed(background: np.ndarray, truth: np.ndarray) -> Box:
    """Where the true object and its effects are seen."""
    box = bounding_box(np.abs(truth.astype(int) - background).max(axis=-1) > 12)
    return box or Box(0, 0, background.shape[1], background.shape[0])


def _crop(path: Path, box: Box, spec: CriticSpec) -> torch.Tensor:
    """A square around a box, [3, side, side] in [-1, 1]; beyond the picture its edge goes on."""
    picture = torch.from_numpy(_picture(path).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    height, width = picture.shape[-2:]
    reach = max(box.width, box.height) * (0.5 + spec.margin)
    steps = ((torch.arange(spec.side) + 0.5) / spec.side * 2 - 1) * min(reach, max(height, width) / 2)
    x, y = ((box.x0 + box.x1) / 2 + steps) * 2 / width - 1, ((box.y0 + box.y1) / 2 + steps) * 2 / height - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0]


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))
