"""API keys."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from bfs_model.errors import BadInput
from bfs_serve.edge.signature import CallerFacts
from bfs_serve.keys import Key, KeyRing, hash_key, main, read_keys

BAD = ("scopes=all", "scopes=", "expires=31.1.2027", "expires=2027-13-01", "rate=60", "rate=0/minute", "limit=3")


def test_a_made_key_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed line goes into the file, the printed key to its holder."""
    assert main(["ann"]) == 0
    printed = capsys.readouterr()
    key = printed.err.strip().rpartition(" ")[2]
    path = tmp_path / "keys"
    path.write_text("# who may call\n\n" + printed.out)
    assert len(key) >= 40 and key not in printed.out
    ring = KeyRing(path)
    assert ring.caller(key) == CallerFacts("ann")
    assert ring.caller("") is None and ring.caller(key[:-1]) is None and ring.caller("\udcff") is None


def test_a_key_may_be_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scopes, a last day and a rate are written into its line, and read from there."""
    assert main(["ann", "scopes=read,metrics", "days=90", "rate=60/minute"]) == 0
    printed = capsys.readouterr()
    path = tmp_path / "keys"
    path.write_text(printed.out)
    (key,) = read_keys(path)
    assert (key.scopes, key.rate) == (("read", "metrics"), "60/minute")
    assert key.expires == datetime.now(UTC).date() + timedelta(days=90)
    secret = printed.err.strip().rpartition(" ")[2]
    assert KeyRing(path).caller(secret) == CallerFacts("ann", ("read", "metrics"), "60/minute")


def test_a_key_is_good_to_the_end_of_its_last_day() -> None:
    """In UTC."""
    key = Key("ann", "0" * 64, expires=date(2027, 1, 31))
    assert key.is_valid(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC))
    assert not key.is_valid(datetime(2027, 2, 1, tzinfo=UTC))


def test_an_expired_key_opens_nothing(tmp_path: Path) -> None:
    """Another key of the same name does."""
    path = tmp_path / "keys"
    path.write_text(f"ann {hash_key('old')} expires=2020-01-01\nann {hash_key('new')} expires=2999-01-01\n")
    ring = KeyRing(path)
    assert ring.caller("old") is None and ring.caller("new") == CallerFacts("ann")


def test_a_name_may_have_two_keys_while_one_is_replaced(tmp_path: Path) -> None:
    """Jobs belong to the name, so both see the same."""
    path = tmp_path / "keys"
    path.write_text(f"ann {hash_key('one')}\nann {hash_key('two')}\n")
    ring = KeyRing(path)
    assert ring.caller("one") == ring.caller("two") == CallerFacts("ann")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nobody\n",
        "ann\n",
        "ann 123\n",
        f"a,b {'0' * 64}\n",
        f"ann {'0' * 64} x\n",
        "\xff",
        *(f"ann {'0' * 64} {bad}\n" for bad in BAD),
    ],
    ids=repr,
)
def test_a_bad_keys_file_is_refused(tmp_path: Path, text: str) -> None:
    """Rather than opening to nobody, or to everybody."""
    path = tmp_path / "keys"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match="BFS_API_KEYS_FILE"):
        read_keys(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A revoked key stops working without a restart, whatever became of the file: shorter, bad in that line, empty, or gone."""
    path = tmp_path / "keys"
    path.write_text(f"ann {hash_key('a')}\nbob {hash_key('b')}\n")
    ring = KeyRing(path)
    for text, open_to in [
        (f"bob {hash_key('b')}\n", "b"),
        (f"ann revoked\nbob {hash_key('b')}\n", "b"),
        ("", ""),
        (f"ann {hash_key('a')}\n", "a"),
    ]:
        replacement = tmp_path / "new"
        replacement.write_text(text)
        replacement.rename(path)
        assert [key for key in "ab" if ring.caller(key)] == list(open_to), text
    path.unlink()
    assert ring.caller("a") is None
    path.write_text(f"ann {hash_key('a')}\n")
    assert ring.caller("a") == CallerFacts("ann")


def test_usage_is_one_line() -> None:
    """A name with a space makes no key."""
    done = subprocess.run([sys.executable, "-m", "bfs_serve.keys", "a b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage:") and done.stderr.count("\n") == 1
