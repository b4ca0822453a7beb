"""What the documents print exists: commands, options, files. tests/e2e/test_documents.py runs it."""

import ast
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import typer.main
from documents import Block, blocks, documents, spans
from run_documents import NOT_RUN
from sources import PACKAGES, ROOT, python_files

from bfs_platform.cli.main import app
from bfs_serve.__main__ import parser as serve_parser

DOCUMENTS = documents(ROOT)
LANGUAGES = {"sh", "python", "json", "text"}
# Shell words that are no programs of ours, and programs of others whose options running them shows.
PLAIN = {".", "cat", "cd", "cp", "curl", "export", "mkdir", "unset", ".venv/bin/mlflow", ".venv/bin/ray"}
OUR_FOLDERS = re.compile(r"(\.ci|bfs_model|docs|infra|jobs|platform|serve|tests)/[\w./-]*\w")


def _blocks(language: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document) if block.language == language]


def _written_out() -> list[tuple[str, list[str]]]:
    """Jobs and `bfs` in blocks of text, which take hours, or data that is not here: not run, and nothing wrong in them all the same."""
    lines = [(b.place, line) for b in _blocks("text") for line in re.sub(r"\s*\\\n\s*", " ", b.text).splitlines()]
    return [(place, shlex.split(line)) for place, line in lines if re.match(r"\s*(python )?(jobs/|\.venv/bin/|infra/)\S", line)]


COMMANDS = [(block.place, words) for block in _blocks("sh") for words in block.commands()]
WRITTEN_OUT = _written_out()


@cache
def _options_of_script(path: str) -> set[str]:
    if path.startswith("infra/"):  # these import torch before they look at their arguments, and hold all of them
        return _options((ROOT / path).read_text(encoding="utf-8"))
    result = subprocess.run([sys.executable, path, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return _options(result.stdout)


def _options_of_bfs(words: list[str]) -> set[str]:
    """Options of the sub-command that `words` begin with. Raises `KeyError` when there is none."""
    command = typer.main.get_command(app)
    for word in words:
        if word.startswith("-") or not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return _options_below(command) if words else set()


def _options_below(command: Any) -> set[str]:
    own = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return own.union(*map(_options_below, getattr(command, "commands", {}).values()))


def _options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][\w-]*", text))


def _given(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}


def test_there_are_documents_and_commands() -> None:
    """README and CONTRIBUTING are read, and the checks below have something to check."""
    assert {document.name for document in DOCUMENTS} >= {"README.md", "CONTRIBUTING.md"}
    assert len(COMMANDS) > 30 and _blocks("python")


def test_every_block_has_a_language_that_is_checked() -> None:
    """Shell, Python, JSON, or text that says it is text."""
    found = [block for document in DOCUMENTS for block in blocks(document)]
    assert [f"{block.place} {block.language}" for block in found if block.language not in LANGUAGES] == []


def test_every_command_is_one_that_a_bare_shell_finds() -> None:
    """Programs of the environment are given by their path, and nothing has to be filled in."""
    wrong = []
    for place, words in COMMANDS:
        known = words[0] in PLAIN or words[0] in (".venv/bin/bfs", ".venv/bin/python", "make")
        if not known or re.search(r"…|\.\.\.|<\w+>", " ".join(words)):
            wrong.append(f"{place} {' '.join(words)}")
    assert wrong == []


def test_every_option_exists() -> None:
    """`bfs`, jobs and scripts are asked for their options; make for its targets."""
    wrong = []
    assert len(WRITTEN_OUT) > 10
    for place, words in COMMANDS + WRITTEN_OUT:
        script = next((i for i, word in enumerate(words) if re.fullmatch(r"(jobs|infra)/\S+\.py", word)), None)
        if words[0] == "make":
            made = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
            wrong += [] if made.returncode == 0 else [f"{place} {made.stderr}"]
        elif words[0].endswith("/bfs"):
            wrong += [f"{place} {option}" for option in _given(words) - _options_of_bfs(words[1:])]
        elif script is not None:
            wrong += [f"{place} {option}" for option in _given(words[script:]) - _options_of_script(words[script])]
    assert wrong == []


def test_no_document_runs_the_documents() -> None:
    """A command of make that starts the second pass of the tests is on the list of those that are not run."""
    goals = {tuple(words) for _, words in COMMANDS if words[0] == "make" and " ".join(words) not in NOT_RUN}
    made = [subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout for words in sorted(goals)]
    assert goals and [text for text in made if re.search(r'pytest -m "\(', text)] == []


def test_every_named_file_exists() -> None:
    """A path into one of our folders, in a sentence or a command, leads to a file or a folder."""
    named = [(document.name, word) for document in DOCUMENTS for span in spans(document) for word in span.split()]
    named += [(place, word) for place, words in COMMANDS for word in words]
    paths = [(place, word) for place, word in named if OUR_FOLDERS.fullmatch(word)]
    assert len(paths) > 10
    assert [f"{place} {word}" for place, word in paths if not (ROOT / word).exists()] == []


def test_options_in_sentences_exist() -> None:
    """An option that a sentence mentions belongs to some command or job."""
    files = python_files(*PACKAGES.values(), ROOT / "jobs", ROOT / "infra")
    known = _options_below(typer.main.get_command(app)) | _options("\n".join(path.read_text(encoding="utf-8") for path in files))
    known |= _options(serve_parser().format_help())
    mentioned = {(document.name, option) for document in DOCUMENTS for span in spans(document) for option in _given(span.split())}
    assert mentioned and [f"{name} {option}" for name, option in sorted(mentioned) if option not in known] == []


@pytest.mark.parametrize("language", ["python", "json"])
def test_code_can_be_read(language: str) -> None:
    """Python and JSON blocks are whole."""
    read = {"python": ast.parse, "json": json.loads}[language]
    for block in _blocks(language):
        assert read(block.text) is not None, block.place


def test_what_is_not_run_is_still_printed() -> None:
    """The list of commands that no test runs holds none that has gone from the documents."""
    printed = {" ".join(block.text.split()) for block in _blocks("sh")} | {" ".join(words) for _, words in COMMANDS}
    assert set(NOT_RUN) - printed == set()
