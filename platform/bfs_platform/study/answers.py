"""Answer files as participants send them back: checked, and refused with the reason when they are not whole."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bfs_model.document.layer import printable
from bfs_model.errors import BadInput
from bfs_platform.study.build import ANSWERS_FORMAT, KEY_FORMAT

_MAX_BYTES = 4 * 2**20
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Answers:
    """`ratings` int [cases, systems, questions] of one participant, in the order of the key's cases and systems."""

    participant: str
    ratings: np.ndarray


class Refused(Exception):
    """An answers file that cannot be used; the text says why."""


def read_key(path: Path) -> dict[str, Any]:
    """The key of a study. Raises `BadInput` when it is none."""
    try:
        key: Any = json.loads(path.read_text(encoding="utf-8"))
        usable = key["format"] == KEY_FORMAT and key["study"] and key["cases"] and key["systems"] and key["questions"]
        usable = usable and all(set(case["letters"].values()) == set(key["systems"]) for case in key["cases"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise BadInput("key", path, "is not the key of a study", "give the key.json that bfs study build wrote")
    return dict(key)


def read_all(paths: Sequence[Path], key: Mapping[str, Any]) -> tuple[list[Answers], dict[str, str]]:
    """Read all files. Returns the usable answers, and the reason for each file that is not.

    Of a participant who answered twice the same one file counts; where the files differ none does, so that the order in which
    they are named decides nothing.
    """
    files: dict[str, list[tuple[Path, Answers]]] = {}
    refused: dict[str, str] = {}
    for path in paths:
        try:
            answers = read_answers(path, key)
            files.setdefault(answers.participant.casefold(), []).append((path, answers))
        except Refused as reason:
            refused[str(path)] = str(reason)
    found = []
    for (first, answers), *others in files.values():
        if all(np.array_equal(answers.ratings, other.ratings) for _, other in others):
            found.append(answers)
            refused |= {
                str(path): f"participant {answers.participant} has answered already, the same in {first.name}" for path, _ in others
            }
        else:
            names = ", ".join(path.name for path, _ in ((first, answers), *others))
            rule = f"participant {answers.participant} has answered differently in {names}; give one of them"
            refused |= {str(path): rule for path, _ in ((first, answers), *others)}
    return found, refused


def read_answers(path: Path, key: Mapping[str, Any]) -> Answers:
    """Read one file. Raises `Refused` with the reason."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Refused("it is far larger than any answers file")
        document: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"it cannot be read ({type(error).__name__})") from None
    if not isinstance(document, dict) or document.get("format") != ANSWERS_FORMAT:
        raise Refused("it is no answers file")
    if document.get("study") != key["study"]:
        raise Refused(f"it belongs to study {printable(str(document.get('study')))[:_MAX_NAME]}, not {key['study']}")
    participant, answers = document.get("participant"), document.get("answers")
    if not isinstance(participant, str) or not printable(participant) or len(participant) > _MAX_NAME:
        raise Refused("it names no participant")
    if not isinstance(answers, dict) or set(answers) != set(key["cases"]):
        missing = sorted(set(key["cases"]) - set(answers)) if isinstance(answers, dict) else sorted(key["cases"])
        raise Refused(f"it lacks cases {', '.join(missing[:5])}" if missing else "it holds cases that the study has not")
    ratings = [_of_case(name, case, answers[name], key) for name, case in key["cases"].items()]
    return Answers(printable(participant), np.asarray(ratings))


def _of_case(name: str, case: Mapping[str, Any], given: Any, key: Mapping[str, Any]) -> list[list[int]]:
    """Ratings of one case: a list per system, in the key's order of systems."""
    if not isinstance(given, dict) or set(given) != set(case["letters"]):
        raise Refused(f"case {name} does not hold the letters {', '.join(case['letters'])}")
    by_system = {}
    for letter, system in case["letters"].items():
        values = given[letter]
        whole = isinstance(values, list) and len(values) == len(key["questions"])
        if not whole or not all(type(value) is int and 1 <= value <= 5 for value in values):
            raise Refused(f"case {name}, {letter}: expected {len(key['questions'])} whole numbers from 1 to 5")
        by_system[system] = list(values)
    return [by_system[system] for system in key["systems"]]
