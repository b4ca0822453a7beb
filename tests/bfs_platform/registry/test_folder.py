"""What a model folder may hold."""

import pytest

from bfs_model.errors import IntegrityError
from bfs_platform.registry.folder import check_folder


def test_a_whole_folder_passes(make_model) -> None:
    """A folder as a training job writes it is accepted, with all the kinds of files that a model needs."""
    folder = make_model(extra={"README.md": b"#", "LICENSE.txt": b"x", "spiece.model": b"\x0a"})
    assert len(check_folder(folder)["files"]) == 7


def test_tampering_is_named(make_model, tampering) -> None:
    """Every kind of tampering is refused with a line that says what is wrong."""
    folder = make_model()
    tampering.apply(folder)
    with pytest.raises(IntegrityError, match=tampering.rule):
        check_folder(folder)
