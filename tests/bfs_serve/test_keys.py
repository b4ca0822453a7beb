"""API keys."""

import subprocess
import sys
from pathlib import Path

import pytest

from bfs_model.errors import BadInput
from bfs_serve.keys import KeyRing, hash_key, main, read_keys


def test_a_made_key_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed line goes into the file, the printed key to its holder."""
    assert main(["ann"]) == 0
    printed = capsys.readouterr()
    key = printed.err.strip().rpartition(" ")[2]
    path = tmp_path / "keys"
    path.write_text("# who may call\n\n" + printed.out)
    assert len(key) >= 40 and key not in printed.out
    ring = KeyRing(path)
    assert ring.owner(key) == "ann"
    assert ring.owner("") is None and ring.owner(key[:-1]) is None and ring.owner("\udcff") is None


@pytest.mark.parametrize(
    "text",
    ["", "# nobody\n", "ann\n", "ann 123\n", f"a,b {'0' * 64}\n", f"ann {'0' * 64}\nann {'1' * 64}\n", f"ann {'0' * 64} x\n", "\xff"],
    ids=repr,
)
def test_a_bad_keys_file_is_refused(tmp_path: Path, text: str) -> None:
    """Rather than opening to nobody, or to everybody."""
    path = tmp_path / "keys"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match="BFS_API_KEYS_FILE"):
        read_keys(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A revoked key stops working without a restart; a file that became bad changes nothing."""
    path = tmp_path / "keys"
    path.write_text(f"ann {hash_key('a')}\nbob {hash_key('b')}\n")
    ring = KeyRing(path)
    replacement = tmp_path / "new"
    replacement.write_text(f"bob {hash_key('b')}\n")
    replacement.rename(path)
    assert ring.owner("a") is None and ring.owner("b") == "bob"
    path.unlink()
    assert ring.owner("b") == "bob"


def test_usage_is_one_line() -> None:
    """A name with a space makes no key."""
    done = subprocess.run([sys.executable, "-m", "bfs_serve.keys", "a b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage:") and done.stderr.count("\n") == 1
