"""The questionnaire: one page that needs no network and says nowhere which system is which; and the key to it."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.files import write_whole
from bfs_platform.data.record import seed_of
from bfs_platform.study.cases import Case, gather
from bfs_platform.study.questions import QUESTIONS, SCALE

PAGE, KEY = "questionnaire.html", "key.json"
KEY_FORMAT, ANSWERS_FORMAT = "bfs-study-key/1", "bfs-study-answers/1"
LETTERS = "ABCDEFGH"
_SMALL = 256  # pixels: up to here pictures are shown enlarged, with their pixels as they are, and stored without loss
_QUALITY = 95


def build_study(
    directories: Sequence[Path], output: Path, seed: int = 0, num_cases: int = 20, systems: Sequence[str] = ()
) -> dict[str, Any]:
    """Write `output/questionnaire.html` for the participants and `output/key.json` for whoever runs the study.

    Which letter a system has is drawn for each case by `seed`; the order of cases is drawn in the page for each participant.
    The page holds prompts and pictures and nothing else of the evaluations; pictures are stored anew, without metadata.
    Returns: the key. Raises: `BadInput` as `cases.gather` does, and when `output` holds something else.
    """
    if output.exists() and (not output.is_dir() or any(path.name not in (PAGE, KEY) for path in output.iterdir())):
        raise BadInput("output", output, "is there and is no study", "name a new folder")
    found = gather(directories, systems, num_cases, seed)
    if not 1 <= len(found.systems) <= len(LETTERS):
        raise BadInput("system", ", ".join(found.systems), f"are more than {len(LETTERS)}", "choose with --system")
    shown, key_cases = [], {}
    for number, case in enumerate(found.cases, 1):
        letters = _letters(case, seed)
        shown.append({"id": f"{number:02d}", "caption": case.caption, "systems": [_pictures(case, name, x) for x, name in letters.items()]})
        key_cases[f"{number:02d}"] = {"record": case.record, "caption": case.caption, "letters": letters}
    study = hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]  # of what participants see, so it tells nothing
    key = {
        "format": KEY_FORMAT,
        "study": study,
        "seed": seed,
        "questions": [question.id for question in QUESTIONS],
        "systems": dict(found.systems),
        "cases": key_cases,
        "skipped": found.skipped,
    }
    if (output / KEY).exists() and read_study(output / KEY) != study:
        raise BadInput("output", output, "holds another study, whose answers only its key can read", "name a new folder")
    page = _render(study, shown)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / PAGE, page.encode())
    write_whole(output / KEY, (json.dumps(key, indent=1, ensure_ascii=False) + "\n").encode())
    return key


def read_study(path: Path) -> str | None:
    """The id of the study that a key is of; None when it is no key."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["study"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _letters(case: Case, seed: int) -> dict[str, str]:
    names = sorted(case.systems)
    order = np.random.default_rng(seed_of(seed, "letters", case.record)).permutation(len(names))
    return {LETTERS[place]: names[int(index)] for place, index in enumerate(order)}


def _pictures(case: Case, name: str, letter: str) -> dict[str, Any]:
    shown = case.systems[name]
    return {
        "letter": letter,
        "small": max(Image.open(shown.composite).size) <= _SMALL,
        "layer": _data_uri(shown.layer, "RGBA"),
        "background": _data_uri(shown.background, "RGB"),
        "composite": _data_uri(shown.composite, "RGB"),
    }


def _data_uri(path: Path, mode: str) -> str:
    """The picture as WebP inside the page."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert(mode))
    out = io.BytesIO()
    lossless = max(pixels.shape[:2]) <= _SMALL
    Image.fromarray(pixels).save(out, "WEBP", lossless=lossless, quality=100 if lossless else _QUALITY, alpha_quality=100, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _render(study: str, cases: Sequence[dict[str, Any]]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("questionnaire.html.j2")
    return template.render(study=study, cases=cases, questions=QUESTIONS, scale=SCALE, answers_format=ANSWERS_FORMAT)
