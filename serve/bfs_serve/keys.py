"""API keys: a file of names and sha256 hashes. The keys themselves are known to their holders only.

`python -m bfs_serve.keys NAME` makes a key, prints it on stderr once, and prints the line for the file on stdout.
"""

import hashlib
import hmac
import logging
import re
import secrets
import sys
from pathlib import Path

from bfs_model.errors import BadInput

logger = logging.getLogger("bfs_serve")

KEYS_FILE_VARIABLE = "BFS_API_KEYS_FILE"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


def hash_key(key: str) -> str:
    """Hex sha256. Keys hold 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path | str) -> dict[str, str]:
    """Read `name sha256` lines (empty lines and `#` comments aside) into {name: hash}. Raises `BadInput`."""
    remedy = "each line is a name and a sha256, as `python -m bfs_serve.keys NAME` prints them"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(KEYS_FILE_VARIABLE, path, f"cannot be read ({type(error).__name__})", remedy) from None
    keys: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or not _HASH.fullmatch(words[1]) or words[0] in keys:
            raise BadInput(KEYS_FILE_VARIABLE, path, f"has a bad line {number}", remedy)
        keys[words[0]] = words[1]
    if not keys:
        raise BadInput(KEYS_FILE_VARIABLE, path, "holds no key", remedy)
    return keys


class KeyRing:
    """The keys of a file, read again when the file changes. A file that turns bad changes nothing until it is good again."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._stamp = self._changed_at()
        self._keys = read_keys(self._path)

    def owner(self, key: str) -> str | None:
        """The name behind a key, or None. Takes the same time whichever key it is."""
        self._refresh()
        given, found = hash_key(key), None
        for name, expected in self._keys.items():
            if hmac.compare_digest(given, expected):
                found = name
        return found

    def _refresh(self) -> None:
        stamp = self._changed_at()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = read_keys(self._path)
            except BadInput as error:
                logger.error("the old API keys stay: %s", error)

    def _changed_at(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return status.st_mtime_ns, status.st_ino


def main(arguments: list[str]) -> int:
    """Make one key."""
    if len(arguments) != 1 or not _NAME.fullmatch(arguments[0]):
        print("usage: python -m bfs_serve.keys NAME  (letters, digits, dot, dash, underscore)", file=sys.stderr)
        return 2
    key = secrets.token_urlsafe(32)
    print(f"key (shown once): {key}", file=sys.stderr)
    print(f"{arguments[0]} {hash_key(key)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
