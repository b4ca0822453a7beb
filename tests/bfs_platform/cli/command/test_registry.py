"""`bfs promote` and `bfs rollback`: what the commands add to `bfs_platform.registry`."""

import pytest

from bfs_platform.cli.command.registry import _text

PASSED = {"name": "integrity", "passed": True, "detail": "4 files, all as listed"}
FAILED = {"name": "metrics", "passed": False, "detail": "psnr 20.1 is below 21"}
RECORD = {"promoted": True, "changed": True, "name": "bfs", "version": "7", "uri": "models:/bfs/7", "alias": "champion", "previous": "6"}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (RECORD | {"gates": [PASSED]}, "bfs@champion promoted: version 7 (from version 6)"),
        (RECORD | {"gates": [PASSED], "previous": None}, "bfs@champion promoted: version 7 (from version none)"),
        (RECORD | {"gates": [PASSED], "changed": False}, "bfs@champion promoted: version 7 (no change)"),
        (RECORD | {"gates": [PASSED, FAILED], "promoted": False}, "bfs@champion stays at version 6; models:/bfs/7 was not promoted"),
    ],
)
def test_the_last_line_says_where_the_alias_is(record, said) -> None:
    """Gates first, one line each, then what happened to the alias."""
    *gates, last = _text(record, "promoted").splitlines()
    assert last == said
    assert [("FAILED" in line) for line in gates] == [not gate["passed"] for gate in record["gates"]]


@pytest.mark.parametrize("arguments", [["promote", "bfs-7"], ["promote", "models:/bfs/7"], ["rollback", "--name", "nothing"]])
def test_what_does_not_exist_is_refused(bfs, store_uri, arguments) -> None:
    """A candidate that is no model, an unknown version, an unknown model: exit code 2, and the last line names it."""
    result = bfs(*arguments, "--registry", store_uri)
    assert (result.exit_code, result.stdout) == (2, "")
    assert arguments[-1].removeprefix("models:/bfs/") in result.stderr.splitlines()[-1]
