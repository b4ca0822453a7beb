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
from typing import Any

from PIL import Image

from bfs_model import BFSPipeline
from bfs_model.picture.boxes import Box
from bfs_platform.evaluate.run.overview import row
from bfs_platform.train.sample.probes import grid


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
    rows = [drawn(pipe, arguments.input, entries[i]) for i in arguments.scenes]
    half = (len(rows) + 1) // 2
    grid([left + right for left, right in zip_longest(rows[:half], rows[half:], fillvalue=[])]).save(arguments.output)


def drawn(pipe: BFSPipeline, root: Path, entry: dict[str, Any]) -> list[Image.Image]:
    """One scene, from its background to the truth."""
    background = Image.open(root / entry["GT"]).convert("RGB")
    box = Box(*entry["box"])
    out = pipe.generate(background, box, entry["caption"], seed=7)
    return row(background, box, out.foregrounds[0], out.composites[0], Image.open(root / entry["source"]))


if __name__ == "__main__":
    main()
