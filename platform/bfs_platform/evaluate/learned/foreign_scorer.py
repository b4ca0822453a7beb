"""Runs in another environment and knows nothing of BFS: scores pictures with pyiqa or hpsv3, one JSON line in, one out.

First line out: `{"versions": {…}}`, or `{"absent": reason}` when the package does not load. Then for each
`{"image": PATH, "prompt": TEXT}` either `{"scores": {NAME: number}}` or `{"error": reason}`. Ends when its input does.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

Scores = dict[str, float]
Score = Callable[[str, str], Scores]


def load_pyiqa() -> Score:
    """MUSIQ and MANIQA, both in pyiqa's default variant, trained on KonIQ-10k. MANIQA draws crops: its seed is fixed."""
    pyiqa, torch = importlib.import_module("pyiqa"), importlib.import_module("torch")
    metrics = {name: pyiqa.create_metric(name, device=_device(torch)) for name in ("musiq", "maniqa")}

    def score(image: str, prompt: str) -> Scores:
        torch.manual_seed(0)
        with torch.no_grad():
            return {name: float(metric(image)) for name, metric in metrics.items()}

    return score


def load_hpsv3() -> Score:
    """HPSv3's mean. Keywords only: the released package and its repository order the arguments differently."""
    hpsv3, torch = importlib.import_module("hpsv3"), importlib.import_module("torch")
    inferencer = hpsv3.HPSv3RewardInferencer(device=str(_device(torch)))

    def score(image: str, prompt: str) -> Scores:
        return {"hpsv3": float(inferencer.reward(image_paths=[image], prompts=[prompt])[0][0])}

    return score


LOADERS: dict[str, Callable[[], Score]] = {"pyiqa": load_pyiqa, "hpsv3": load_hpsv3}


def _device(torch: Any) -> Any:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(package: str, probe: bool) -> None:
    """Serve `package` until the input ends; with `probe`, only say whether it is there."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not land between the replies

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        importlib.import_module(package)
        score = None if probe else LOADERS[package]()
    except Exception as error:
        reply({"absent": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})
        return
    reply({"versions": {name: _version(name) for name in (package, "torch")}})
    for line in sys.stdin:
        if score is None:
            break
        asked = json.loads(line)
        try:
            reply({"scores": score(asked["image"], asked["prompt"])})
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file: its neighbours must not be found as top-level modules
    main(sys.argv[1], "--probe" in sys.argv[2:])
