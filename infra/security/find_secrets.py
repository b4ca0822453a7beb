"""Look for secrets in the files of the repository: keys of well-known forms, private keys, and long random values given to a name.

    python infra/security/find_secrets.py [--history]

With `--history`, in every line that a commit has added, too: what was removed later is still in each clone. Exit code 1, and a line for
each, when something is found. What is no secret (a hash in a test, an example) says so on its line by `not a secret`, with the reason.
"""

import argparse
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXCUSE = "not a secret"
_FORMS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "an access key of AWS": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a token of GitHub": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    "a token of Hugging Face": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "a token of Slack": re.compile(r"\bxox[abposr]-[A-Za-z0-9-]{10,}\b"),
    "a JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
}
# With something in it that words are not made of: examples say user:password@host.
_IN_ADDRESS = re.compile(r"\b[a-z][a-z0-9+]*://[^\s/:@'\"{}$]+:(?=[^\s/@]*\d)([^\s/:@'\"{}$]{10,})@")
_GIVEN = re.compile(r"(?i)(?:secret|token|passw(?:or)?d|api[_-]?key|credential)\w*['\"]?\s*[:=]\s*['\"]([A-Za-z0-9+/_=-]{20,})['\"]")
_LEFT_OUT = {".venv", ".bfs", "build", "demo", "dist", "out", "__pycache__"}
_BITS_PER_CHARACTER = 3.5  # hexadecimal digits drawn at random have nearly 4, words less than 3.5


def findings(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers of a text, and what stands there."""
    for number, line in enumerate(text.splitlines(), 1):
        if EXCUSE in line:
            continue
        yield from ((number, what) for what, form in _FORMS.items() if form.search(line))
        yield from ((number, "a password in an address") for _ in _IN_ADDRESS.findall(line))
        yield from (
            (number, "a random value given to a secret's name") for value in _GIVEN.findall(line) if _entropy(value) > _BITS_PER_CHARACTER
        )


def _entropy(text: str) -> float:
    """Bits per character, by how often each occurs."""
    counts = [text.count(character) for character in set(text)]
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def files() -> Iterator[Path]:
    """What the repository holds, and would hold after `git add`; in a copy without history, all but environments and results."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        found = [ROOT / name for name in names]
    else:
        found = [path for path in ROOT.rglob("*") if not _LEFT_OUT & set(path.relative_to(ROOT).parts)]
    yield from (path for path in found if path.is_file())


def in_files() -> Iterator[str]:
    """Where in the files as they are, and what."""
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield from (f"{path.relative_to(ROOT)}:{number} {what}" for number, what in findings(text))


def in_history(root: Path = ROOT) -> Iterator[str]:
    """Where in the lines that commits have added, and what; of a clone without all of the history, in what it has."""
    command = ["git", "log", "--patch", "--no-color", "--no-ext-diff", "--no-renames", "--unified=0", "--format=commit %h"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, errors="replace") as log:
        assert log.stdout is not None
        commit = path = ""
        for line in log.stdout:
            if line.startswith("commit "):
                commit = line.split()[1]
            elif line.startswith("+++ "):
                path = line[4:].strip().removeprefix("b/")
            elif line.startswith("+"):
                yield from (f"{commit}:{path} {what}" for _, what in findings(line[1:]))
    if log.returncode:
        raise SystemExit("git log failed; is this a clone?")


def main() -> int:
    """Look everywhere. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Look for secrets in the files of the repository.")
    parser.add_argument("--history", action="store_true", help="in every line that a commit has added, too")
    found = [*in_files(), *(in_history() if parser.parse_args().history else ())]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
