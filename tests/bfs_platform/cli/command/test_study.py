"""`bfs study` on the command line."""

import json


def test_help_names_both_commands(bfs) -> None:
    """`build` and `analyse` are found, and start without loading anything heavy."""
    result = bfs("study", "--help")
    assert result.exit_code == 0 and "build" in result.stdout and "analyse" in result.stdout


def test_analyse_writes_and_prints(bfs, tmp_path) -> None:
    """A table for people, JSON for programs and for the file; bad input is one line and exit code 2."""
    cases = {"01": {"letters": {"A": "x"}}}
    key = {"format": "bfs-study-key/1", "study": "s", "questions": ["placement"], "systems": {"x": {}}, "cases": cases}
    (tmp_path / "key.json").write_text(json.dumps(key))
    document = {"format": "bfs-study-answers/1", "study": "s", "participant": "p", "answers": {"01": {"A": [4]}}}
    (tmp_path / "p.json").write_text(json.dumps(document))
    result = bfs("study", "analyse", tmp_path / "p.json", "--key", tmp_path / "key.json", "--output", tmp_path / "out.json")
    assert result.exit_code == 0 and "4.00 [?, ?]" in result.stdout and "a single participant or case" in result.stdout
    assert json.loads((tmp_path / "out.json").read_text())["systems"]["x"]["placement"]["mean"] == 4
    wrong = bfs("study", "analyse", tmp_path / "key.json", "--key", tmp_path / "key.json")
    assert wrong.exit_code == 2 and wrong.stderr.count("\n") == 1 and "is no answers file" in wrong.stderr


def test_build_refuses_what_is_no_evaluation(bfs, tmp_path) -> None:
    """One line, exit code 2, nothing written."""
    result = bfs("study", "build", "--evaluation", tmp_path, "--output", tmp_path / "study")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert not (tmp_path / "study").exists()
