#!/usr/bin/env python
"""The rooms that the studio offers to start with: backgrounds of held-out tabletop scenes, as WebP.

python infra/pictures/rooms.py --output serve/studio/src/rooms
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from bfs_platform.tabletop.sample import Request, make_sample

# Name of a room -> index of its scene, whose box it has as well, and what the studio offers to draw there.
ROOMS = {
    "amber": (3, "a large red polished metal sphere"),
    "meadow": (9, "a large orange glossy plastic cone"),
    "dusk": (15, "a medium yellow matte cube"),
}
_SEED, _SIDE, _SAMPLES, _QUALITY = 11, 640, 48, 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    request = Request(_SEED, "heldout", _SIDE, _SAMPLES)
    rooms = []
    for name, (index, prompt) in ROOMS.items():
        sample = make_sample(request, index)
        (output / f"{name}.png").write_bytes(sample.images["GT"])
        with Image.open(output / f"{name}.png") as picture:
            Image.fromarray(np.asarray(picture)).save(output / f"{name}.webp", quality=_QUALITY, method=6)
        (output / f"{name}.png").unlink()
        rooms.append({"name": name, "box": sample.record["box"], "prompt": prompt})
    (output / "rooms.json").write_text(json.dumps(rooms, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
