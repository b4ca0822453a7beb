#!/usr/bin/env python
"""The picture of the README: held-out scenes, the layer that the embedded model draws, and the truth.

    python jobs/render_tabletop.py --scenes 60 --seed 11 --split heldout --output heldout
    python infra/pictures/make.py --input heldout --output infra/pictures/layers.png

Columns: background with box, layer on a checkerboard, its alpha, composite, the true rendering.
"""

import argparse
import json
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bfs_model import BFSPipeline
from bfs_model.images import checkerboard
from bfs_platform.train.probes import grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="folder in RORem's layout, with box and caption")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--scenes", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    arguments = parser.parse_args()
    entries = json.loads((arguments.input / "meta.json").read_text(encoding="utf-8"))
    pipe = BFSPipeline.from_pretrained(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    rows = [row(pipe, arguments.input, entries[i]) for i in arguments.scenes]
    half = (len(rows) + 1) // 2
    grid([left + right for left, right in zip_longest(rows[:half], rows[half:], fillvalue=[])]).save(arguments.output)


def row(pipe: BFSPipeline, root: Path, entry: dict[str, object]) -> list[Image.Image]:
    """One scene, from its background to the truth."""
    background = Image.open(root / str(entry["GT"])).convert("RGB")
    box = tuple(int(v) for v in entry["box"])  # type: ignore[attr-defined]
    out = pipe.generate(background, box, str(entry["caption"]), seed=7)
    layer = out.foregrounds[0]
    asked = background.copy()
    ImageDraw.Draw(asked).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(255, 220, 0))
    truth = Image.open(root / str(entry["source"]))
    return [asked, checkerboard(np.asarray(layer)), layer.getchannel("A"), out.composites[0], truth]


if __name__ == "__main__":
    main()
