"""API keys: a file of names and sha256 hashes. The keys themselves are known to their holders only.

One line a key: `NAME SHA256`, and if wanted `scopes=draw,read,metrics`, `expires=2027-01-31`, `rate=60/minute`. A name may have
several, so that one can be replaced while both are valid. `python -m bfs_serve.keys NAME` makes a key, prints it on stderr
once, and prints the line for the file on stdout.
"""

import hashlib
import hmac
import re
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_serve.edge.signature import SCOPES, CallerFacts
from bfs_serve.telemetry.logs import log

KEYS_FILE_VARIABLE = "BFS_API_KEYS_FILE"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_RATE = re.compile(r"[1-9][0-9]{0,6}/(second|minute|hour|day)")
_REMEDY = "each line is a name and a sha256, as `python -m bfs_serve.keys NAME` prints them"


@dataclass(frozen=True, slots=True)
class Key:
    """One line of the file. It is valid until the end of the day `expires`, UTC."""

    name: str
    hash: str
    scopes: tuple[str, ...] = SCOPES
    expires: date | None = None
    rate: str = ""

    def is_valid(self, now: datetime) -> bool:
        return self.expires is None or now.date() <= self.expires


def hash_key(key: str) -> str:
    """Hex sha256. Keys hold 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def parse_line(line: str) -> Key | None:
    """The key of a line; None for an empty line or a comment. Raises `ValueError` that says what is wrong."""
    words = line.partition("#")[0].split()
    if not words:
        return None
    if len(words) < 2 or not _NAME.fullmatch(words[0]) or not _HASH.fullmatch(words[1]):
        raise ValueError("does not begin with a name and a sha256")
    settings = dict(word.partition("=")[::2] for word in words[2:])
    if unknown := set(settings) - {"scopes", "expires", "rate"}:
        raise ValueError(f"has a setting that is not known, {min(unknown)}")
    scopes = tuple(settings["scopes"].split(",")) if "scopes" in settings else SCOPES
    if not set(scopes) <= set(SCOPES):
        raise ValueError(f"has a scope that is not one of {', '.join(SCOPES)}")
    if "rate" in settings and not _RATE.fullmatch(settings["rate"]):
        raise ValueError("has a rate that is not like 60/minute")
    try:
        expires = date.fromisoformat(settings["expires"]) if "expires" in settings else None
    except ValueError:
        raise ValueError("has a date that is not like 2027-01-31") from None
    return Key(words[0], words[1], scopes, expires, settings.get("rate", ""))


def read_keys(path: Path | str) -> list[Key]:
    """All keys of a file. Raises `BadInput` for a file that cannot be read, a bad line, and when there is no key."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(KEYS_FILE_VARIABLE, path, f"cannot be read ({type(error).__name__})", _REMEDY) from None
    keys = []
    for number, line in enumerate(lines, 1):
        try:
            key = parse_line(line)
        except ValueError as error:
            raise BadInput(KEYS_FILE_VARIABLE, path, f"has a bad line {number}: it {error}", _REMEDY) from None
        keys += [key] if key else []
    if not keys:
        raise BadInput(KEYS_FILE_VARIABLE, path, "holds no key", _REMEDY)
    return keys


class KeyRing:
    """The keys of a file, read again when the file changes.

    What is no longer there is no longer valid: a key whose line has gone or turned bad, and all keys when the file has gone.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._stamp = self._changed_at()
        self._keys = read_keys(self._path)

    def caller(self, key: str) -> CallerFacts | None:
        """Whose key it is, or None. Takes the same time whichever key it is."""
        self._refresh()
        given, found = hash_key(key), None
        now = datetime.now(UTC)
        for known in self._keys:
            if hmac.compare_digest(given, known.hash) and known.is_valid(now):
                found = CallerFacts(known.name, known.scopes, known.rate)
        return found

    def _refresh(self) -> None:
        stamp = self._changed_at()
        if stamp != self._stamp:
            self._stamp = stamp
            self._keys = self._read_good()

    def _read_good(self) -> list[Key]:
        """The keys of all good lines."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            log.error("no API key is valid: their file cannot be read", file=str(self._path), error=type(error).__name__)
            return []
        keys = []
        for number, line in enumerate(lines, 1):
            try:
                key = parse_line(line)
            except ValueError as error:
                log.error("a line of API keys is not valid", file=str(self._path), line=number, error=f"it {error}")
                continue
            keys += [key] if key else []
        return keys

    def _changed_at(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return status.st_mtime_ns, status.st_ino, status.st_size


def main(arguments: list[str]) -> int:
    """Make one key."""
    usage = "usage: python -m bfs_serve.keys NAME [scopes=draw,read] [days=90] [rate=60/minute]"
    if not arguments or not _NAME.fullmatch(arguments[0]):
        print(f"{usage}  (a name has letters, digits, dot, dash, underscore)", file=sys.stderr)
        return 2
    settings = [word for word in arguments[1:] if not word.startswith("days=")]
    days = [word.removeprefix("days=") for word in arguments[1:] if word.startswith("days=")]
    if days and days[-1].isdecimal() and len(days[-1]) < 6:
        settings.append(f"expires={datetime.now(UTC).date() + timedelta(days=int(days[-1]))}")
    key = secrets.token_urlsafe(32)
    line = " ".join([arguments[0], hash_key(key), *settings])
    try:
        parse_line(line)
        if days and not days[-1].isdecimal():
            raise ValueError("has days that are no number")
    except ValueError as error:
        print(f"{usage}\nthe line {error}", file=sys.stderr)
        return 2
    print(f"key (shown once): {key}", file=sys.stderr)
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
