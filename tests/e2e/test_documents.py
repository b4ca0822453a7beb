"""Every command of the documents runs, word for word and in order, in a shell that holds HOME, PATH and TERM alone."""

import os
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from documents import blocks, documents
from PIL import Image
from released_weights import random_release
from run_documents import NOT_RUN, copy_of, environment_of_the_documents, run_document, script, why_not
from safetensors.torch import save_file

from bfs_model.tiny.flux_fill import random_flux_fill

_ROOT = Path(__file__).resolve().parents[2]
_LIMIT_S = 5400.0
_WRITES = ("--output", "--composite", "-o")


def _written(document: Path) -> Iterator[str]:
    """The paths that the commands of a document say they write, relative to the repository's root."""
    for block in blocks(document):
        for words in block.commands() if block.language == "sh" else ():
            yield from (value.removeprefix("$PWD/") for word, value in pairwise(words) if word in _WRITES and value != os.devnull)


def _is_whole(path: Path) -> bool:
    """Whether a file or a folder is there and holds what its suffix says."""
    if path.suffix == ".png":
        Image.open(path).verify()
    elif path.suffix in (".zip", ".ora"):
        return zipfile.ZipFile(path).testzip() is None
    elif path.is_dir():
        return any(path.iterdir())
    return path.stat().st_size > 0


@pytest.mark.soak
@pytest.mark.parametrize("names", [("README.md", "CONTRIBUTING.md"), None], ids=["first", "all"])
def test_documents_run_word_for_word(names: tuple[str, ...] | None, tmp_path: Path) -> None:
    """From top to bottom, each in a shell of its own, as a reader would paste it; what they say they write is there afterwards.

    What a newcomer reads, and all of them.

    What a reader brings along is there: a folder of FLUX.1-Fill, and weights of the released code, both tiny and random.
    """
    if not environment_of_the_documents(_ROOT):
        pytest.skip("the documents name .venv, and the tests run in another environment")
    if reason := why_not():
        pytest.skip(reason)
    copy, seen = copy_of(_ROOT, tmp_path / "copy"), set[str]()
    random_flux_fill(copy / "FLUX.1-Fill-dev")
    save_file(random_release(), copy / "bfs_release.safetensors")
    read = [document for document in documents(_ROOT) if names is None or str(document.relative_to(_ROOT)) in names]
    assert read
    for number, document in enumerate(read):
        code, printed = run_document(document, _ROOT, copy, tmp_path / str(number), _LIMIT_S, seen)
        assert code == 0, printed[-8000:]
        assert [path for path in _written(document) if not _is_whole(copy / path)] == []


def test_nothing_is_left_out(tmp_path: Path) -> None:
    """The scripts hold every line of every command, but for those that are listed with a reason."""
    seen: set[str] = set()
    text = "\n".join(script(document, tmp_path, seen) for document in documents(_ROOT)).replace("\\\n", "")
    found = [block for document in documents(_ROOT) for block in blocks(document) if block.language in ("sh", "python")]
    lines = [line.rstrip("\\").strip() for block in found for line in block.text.splitlines()]
    assert lines and [line for line in lines if line not in text and line not in NOT_RUN] == []


def test_a_failing_command_fails(tmp_path: Path) -> None:
    """A document that prints a command which does not work is not passed over, and the report names the place."""
    if reason := why_not():
        pytest.skip(reason)
    document = tmp_path / "WRONG.md"
    document.write_text("Run `make nothing-of-the-kind`.\n\n```sh\ntouch reached\n```\n")
    (tmp_path / "copy").mkdir()
    code, printed = run_document(document, _ROOT, tmp_path / "copy", tmp_path / "private", 60, set())
    assert code != 0 and "WRONG.md:1" in printed
    assert not (tmp_path / "copy/reached").exists()
