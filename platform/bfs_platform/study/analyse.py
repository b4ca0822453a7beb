"""From answers to the paper's table 2: means with confidence intervals, and how far participants agree."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bfs_model.errors import BadInput
from bfs_platform.study.agreement import krippendorff_alpha
from bfs_platform.study.answers import Answers, read_all, read_key
from bfs_platform.study.questions import PAPER, QUESTIONS

AVERAGE = "average"
_DRAWS = 2000
_PERCENTILES = (2.5, 97.5)


def analyse_study(paths: Sequence[Path], key_path: Path) -> dict[str, Any]:
    """Analyse answer files of one study.

    Returns: `systems` (by system and question, and for their average: `mean`, `low`, `high`; the bounds are None with a single
    participant or case, from which nothing is known of others), `differences` (of averages, by pair), `alpha` (ordinal, by
    question and over all), `num_participants`, `num_cases`, `refused` (reason by file).
    Raises: `BadInput` when the key is none or not one file can be used.
    """
    key = read_key(key_path)
    answers, refused = read_all(paths, key)
    if not answers:
        first = next(iter(refused.items()), ("none given", "no file"))
        raise BadInput("answers", first[0], f"cannot be used: {first[1]}", "give the files that the questionnaire saved")
    return {"study": key["study"], **_figures(answers, key), "refused": refused}


def _figures(answers: Sequence[Answers], key: Mapping[str, Any]) -> dict[str, Any]:
    ratings = np.stack([one.ratings for one in answers])  # [participants, cases, systems, questions]
    systems, questions = list(key["systems"]), list(key["questions"])
    drawn = _bootstrap(ratings)
    means, averages = ratings.mean(axis=(0, 1)), ratings.mean(axis=(0, 1, 3))
    by_system = {
        system: {
            **{question: _interval(means[s, q], drawn[:, s, q]) for q, question in enumerate(questions)},
            AVERAGE: _interval(averages[s], drawn[:, s].mean(axis=-1)),
        }
        for s, system in enumerate(systems)
    }
    differences = [
        {"first": systems[a], "second": systems[b], **_interval(averages[a] - averages[b], (drawn[:, a] - drawn[:, b]).mean(axis=-1))}
        for a, b in combinations(range(len(systems)), 2)
    ]
    flat = ratings.reshape(len(answers), -1, len(questions))
    alpha = {question: krippendorff_alpha(flat[:, :, q].tolist()) for q, question in enumerate(questions)}
    alpha["all"] = krippendorff_alpha(flat.reshape(len(answers), -1).tolist())
    return {
        "num_participants": len(answers),
        "num_cases": int(ratings.shape[1]),
        "systems": by_system,
        "differences": differences,
        "alpha": alpha,
    }


def _bootstrap(ratings: np.ndarray) -> np.ndarray:
    """Means [draws, systems, questions] under resampling of participants and, independently, of cases.

    Both are samples of larger populations, so both are drawn anew (Owen 2007, the pigeonhole bootstrap; it errs on the
    cautious side). The draws depend on the numbers of participants and cases alone. NaN where there is but one of either.
    """
    people, cases = ratings.shape[:2]
    if min(people, cases) < 2:
        return np.full((1, *ratings.shape[2:]), np.nan)
    generator = np.random.default_rng([people, cases])
    weights = [generator.multinomial(n, np.full(n, 1 / n), size=_DRAWS) / n for n in (people, cases)]
    return np.einsum("bp,bc,pcsq->bsq", *weights, ratings.astype(float), optimize=True)


def _interval(mean: float, drawn: np.ndarray) -> dict[str, float | None]:
    low, high = (None if np.isnan(end) else float(end) for end in np.percentile(drawn, _PERCENTILES))
    return {"mean": float(mean), "low": low, "high": high}


def _shown(cell: Mapping[str, float | None], form: str) -> str:
    ends = ["?" if cell[end] is None else format(cell[end], form) for end in ("low", "high")]
    return f"{format(cell['mean'], form)} [{', '.join(ends)}]"


def as_text(result: Mapping[str, Any]) -> str:
    """The result as a table for the terminal, the paper's figures below it."""
    labels = {question.id: question.label for question in QUESTIONS}
    systems = list(result["systems"])
    rows = [["", *systems, "alpha"]]
    for question in [*labels, AVERAGE]:
        if question not in result["systems"][systems[0]]:
            continue
        alpha = result["alpha"].get("all" if question == AVERAGE else question)
        cells = [result["systems"][system][question] for system in systems]
        shown = [_shown(cell, ".2f") for cell in cells]
        rows.append([labels.get(question, question), *shown, "–" if alpha is None else f"{alpha:.2f}"])
    counts = f"{result['num_participants']} participants, {result['num_cases']} cases"
    lines = [f"{counts}; mean [95 % interval], 1 to 5; Krippendorff's alpha, ordinal", *_aligned(rows)]
    lines += [f"{pair['first']} − {pair['second']}: {_shown(pair, '+.2f')} on average" for pair in result["differences"]]
    if min(result["num_participants"], result["num_cases"]) < 2:
        lines.append("?: a single participant or case tells nothing of others")
    paper = ", ".join(f"{system} {sum(values) / len(values):.2f}" for system, values in PAPER.items())
    lines.append(f"For comparison, averages of the paper (18 participants, 20 other cases): {paper}")
    return "\n".join([*lines, *(f"refused {path}: {reason}" for path, reason in result["refused"].items())])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
