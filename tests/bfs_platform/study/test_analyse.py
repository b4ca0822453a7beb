"""Answers of participants, good and bad, and what is made of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bfs_model.errors import BadInput
from bfs_platform.study.analyse import analyse_study, as_text
from bfs_platform.study.answers import read_all, read_key
from bfs_platform.study.questions import PAPER, QUESTIONS

SYSTEMS = ("bfs", "other")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A study of three cases; the letters change sides."""
    letters = [{"A": "bfs", "B": "other"}, {"A": "other", "B": "bfs"}, {"A": "bfs", "B": "other"}]
    cases = {f"{i:02d}": {"record": str(i), "caption": "", "letters": swapped} for i, swapped in enumerate(letters, 1)}
    document = {"format": "bfs-study-key/1", "study": "s1", "seed": 0, "questions": [q.id for q in QUESTIONS]}
    path = tmp_path / "key.json"
    path.write_text(json.dumps(document | {"systems": {system: {} for system in SYSTEMS}, "cases": cases}))
    return path


def answers(key: Path, name: str, ratings: dict[str, int], **changes: Any) -> Path:
    """A file in which a participant gives each system the same rating everywhere."""
    cases = json.loads(key.read_text())["cases"]
    given = {case: {letter: [ratings[system]] * 6 for letter, system in facts["letters"].items()} for case, facts in cases.items()}
    path = key.parent / f"{name}.json"
    path.write_text(json.dumps({"format": "bfs-study-answers/1", "study": "s1", "participant": name, "answers": given} | changes))
    return path


def test_letters_are_undone(key) -> None:
    """What was rated under changing letters comes out by system."""
    files = [answers(key, "p1", {"bfs": 5, "other": 2}), answers(key, "p2", {"bfs": 4, "other": 3})]
    result = analyse_study(files, key)
    assert result["systems"]["bfs"]["placement"]["mean"] == 4.5 and result["systems"]["other"]["average"]["mean"] == 2.5
    (difference,) = result["differences"]
    assert (difference["first"], difference["second"], difference["mean"]) == ("bfs", "other", 2.0)
    assert (result["num_participants"], result["num_cases"], result["refused"]) == (2, 3, {})


def test_intervals(key) -> None:
    """They hold the mean, are those of resampled participants when only these differ, and are points when nothing does."""
    files = [answers(key, f"p{i}", {"bfs": 1 + i % 5, "other": 3}) for i in range(15)]
    result = analyse_study(files, key)
    cell, still = result["systems"]["bfs"]["average"], result["systems"]["other"]["average"]
    assert cell["low"] < cell["mean"] == 3.0 < cell["high"]
    # Fifteen participants of standard deviation √2: ± 1.96 · √2 / √15.
    assert cell["high"] - cell["low"] == pytest.approx(2 * 1.96 * np.sqrt(2 / 15), rel=0.12)
    assert [still[end] for end in ("low", "mean", "high")] == pytest.approx([3, 3, 3])
    assert analyse_study(files, key) == result


def test_one_participant_tells_nothing_of_others(key) -> None:
    """No interval is made up."""
    result = analyse_study([answers(key, "p1", {"bfs": 5, "other": 2})], key)
    assert result["systems"]["bfs"]["average"] == {"mean": 5.0, "low": None, "high": None}
    assert result["differences"][0]["low"] is None
    text = as_text(result)
    assert "5.00 [?, ?]" in text and "bfs − other: +3.00 [?, ?] on average" in text
    json.dumps(result, allow_nan=False)


def test_agreement_is_by_question_and_over_all(key) -> None:
    """Participants who say the same agree fully."""
    result = analyse_study([answers(key, name, {"bfs": 5, "other": 2}) for name in "ab"], key)
    assert set(result["alpha"]) == {*(q.id for q in QUESTIONS), "all"} and result["alpha"]["all"] == pytest.approx(1)
    assert analyse_study([answers(key, "c", {"bfs": 5, "other": 2})], key)["alpha"]["all"] is None


def test_bad_files_are_refused_with_reasons(key) -> None:
    """Each fault has its reason; the good file is used all the same."""
    good = answers(key, "good", {"bfs": 4, "other": 3})
    ratings = {"bfs": 4, "other": 3}
    whole = json.loads(good.read_text())["answers"]
    wrong = {
        "other_study": ({"study": "s2"}, "belongs to study s2"),
        "no_format": ({"format": "x"}, "is no answers file"),
        "nobody": ({"participant": "  "}, "names no participant"),
        "short": ({"answers": {case: whole[case] for case in ("01", "02")}}, "lacks cases 03"),
        "more": ({"answers": whole | {"99": {}}}, "cases that the study has not"),
        "letters": ({"answers": whole | {"01": {"A": [1] * 6}}}, "case 01 does not hold the letters A, B"),
        "six": ({"answers": whole | {"02": {"A": [1] * 6, "B": [1] * 6 + [2]}}}, "case 02, B: expected 6 whole numbers"),
        "high": ({"answers": whole | {"02": {"A": [1] * 6, "B": [1] * 5 + [6]}}}, "case 02, B: expected 6 whole numbers"),
        "flag": ({"answers": whole | {"02": {"A": [1] * 6, "B": [True] * 6}}}, "case 02, B: expected 6 whole numbers"),
        "twice": ({"participant": "good"}, "participant good has answered already"),
    }
    files = [good, *(answers(key, name, ratings, **changes) for name, (changes, _) in wrong.items())]
    broken = key.parent / "broken.json"
    broken.write_text("[" * 100_000)
    result = analyse_study([*files, broken, key.parent / "missing.json"], key)
    assert result["num_participants"] == 1
    for name, (_, reason) in wrong.items():
        assert reason in result["refused"][str(key.parent / f"{name}.json")]
    assert "cannot be read" in result["refused"][str(broken)] and len(result["refused"]) == len(wrong) + 2
    assert "refused" in as_text(result)


def test_the_order_of_files_decides_nothing(key) -> None:
    """Who saved twice the same counts once; who saved two different sheets is asked which of them holds."""
    one, same, other = (answers(key, name, {"bfs": high, "other": 1}, participant="Ann") for name, high in (("a", 5), ("b", 5), ("c", 2)))
    rest = answers(key, "rest", {"bfs": 3, "other": 3})
    for files in ([one, same, rest], [same, one, rest]):
        result = analyse_study(files, key)
        assert result["num_participants"] == 2 and result["systems"]["bfs"]["average"]["mean"] == 4
    for files in ([one, other, rest], [rest, other, one]):
        result = analyse_study(files, key)
        assert result["num_participants"] == 1 and set(result["refused"]) == {str(one), str(other)}
        assert "has answered differently in" in result["refused"][str(one)]


def test_odd_files_end_in_a_sentence(key) -> None:
    """Lone surrogates and terminal escapes are not passed on; a byte order mark and another case of the name do no harm."""
    good = answers(key, "good", {"bfs": 4, "other": 3})
    odd = answers(key, "odd", {"bfs": 4, "other": 3}, study="\ud800\x1b[31m")
    marked = key.parent / "marked.json"
    marked.write_bytes(b"\xef\xbb\xbf" + answers(key, "GOOD", {"bfs": 4, "other": 3}).read_bytes())
    result = analyse_study([good, odd, marked], key)
    assert as_text(result).encode() and "\x1b" not in as_text(result)
    assert "has answered already" in result["refused"][str(marked)]


def test_without_one_good_file_there_is_no_result(key, tmp_path) -> None:
    """The reason of the first is the message; a key that is none is refused before."""
    bad = answers(key, "p1", {"bfs": 1, "other": 1}, study="s2")
    with pytest.raises(BadInput, match="belongs to study s2"):
        analyse_study([bad], key)
    with pytest.raises(BadInput, match="is not the key of a study"):
        analyse_study([bad], bad)
    with pytest.raises(BadInput, match="is not the key of a study"):
        read_key(tmp_path / "nowhere.json")
    assert read_all([], read_key(key)) == ([], {})


def test_the_papers_table_adds_up() -> None:
    """Averages of the paper's six columns are those that it prints: 3.92, 3.60 and 2.05 (to a rounding of its inputs)."""
    assert [round(sum(values) / 6, 1) for values in PAPER.values()] == [3.9, 3.6, 2.1]
    assert sum(PAPER["BFS"]) / 6 == pytest.approx(3.92, abs=0.006) and sum(PAPER["LayerDiffuse"]) / 6 == pytest.approx(2.05, abs=0.006)
