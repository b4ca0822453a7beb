#!/usr/bin/env python
"""Known weaknesses of the locked versions: `python infra/security/audit.py`, or `make audit`.

Asks osv.dev for those of requirements.lock, and npm's list for those of the studio that are shipped. Exit codes: 0 none, or those alone
that accepted.txt gives a reason for; 1 weaknesses; 2 a tool that fails; 3 a list that does not answer: with `--or-skip` a line and 0.
"""

import argparse
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = Path(__file__).with_name("accepted.txt")
OPTIONS = ("--requirement=requirements.lock", "--no-deps", "--disable-pip", "--vulnerability-service=osv", "--progress-spinner=off")
OSV = "https://api.osv.dev/"
Weakness = tuple[str, set[str]]  # of what, and the names it is known by
_LIMIT_S = 900


class Silent(Exception):
    """A list does not answer."""


def of_python(pip_audit: str) -> Iterator[Weakness]:
    """Those of requirements.lock. Raises `Silent` where osv.dev cannot be reached, and `RuntimeError` where it can and nothing is told."""
    done = _run([pip_audit, *OPTIONS, "--format", "json"], ROOT)
    told = _json(done.stdout)
    if "dependencies" not in told:
        said = done.stderr.strip().rpartition("\n")[2]
        if is_reached(OSV):
            raise RuntimeError(f"pip-audit told nothing: {said}")
        raise Silent(f"osv.dev cannot be reached ({said[:200]})")
    for package in told["dependencies"]:
        for found in package.get("vulns", []):
            yield f"{package['name']} {package['version']}", {found["id"], *found.get("aliases", [])}


def of_studio(npm: str) -> Iterator[Weakness]:
    """Those of what the studio ships. Raises `Silent` where npm's list does not answer."""
    done = _run([npm, "audit", "--json", "--omit=dev"], ROOT / "serve/studio")
    told = _json(done.stdout)
    if "vulnerabilities" not in told:
        raise Silent(f"npm's list does not answer ({str(told.get('message') or done.stderr.strip())[:200]})")
    for name, package in told["vulnerabilities"].items():
        for found in package["via"]:
            if isinstance(found, dict):  # others name the package that has it
                yield name, {found["url"].rpartition("/")[2]}


def accepted(text: str) -> dict[str, str]:
    """The reasons, by the names of weaknesses: a line each. Raises `ValueError` for one without a reason."""
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            if not reason.strip():
                raise ValueError(f"{name} is accepted without a reason; say on its line why")
            found[name] = reason.strip()
    return found


def is_reached(address: str) -> bool:
    """Whether somebody answers there, whatever it is."""
    try:
        urllib.request.urlopen(address, timeout=20).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def _json(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def main(arguments: list[str] | None = None) -> int:
    """Print what is known, and return the exit code."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--or-skip", action="store_true", help="a list that does not answer is a line, and no failure")
    options.add_argument("--pip-audit", default=str(ROOT / "build/tools/bin/pip-audit"), help="default %(default)s")
    options.add_argument("--npm", default=shutil.which("npm"), help="default: the one on PATH; without one the studio is left out")
    given = options.parse_args(arguments)
    reasons, weak, silent = accepted(ACCEPTED.read_text(encoding="utf-8")), False, False
    for ask, program in ((of_python, given.pip_audit), (of_studio, given.npm)):
        if not program:
            print("audit: npm is not there; the studio is left out", file=sys.stderr)
            continue
        try:
            for of, names in ask(program):
                reason = next((reasons[name] for name in sorted(names) if name in reasons), "")
                weak |= not reason
                print(f"{of}: {' '.join(sorted(names))}{f' (accepted: {reason})' if reason else ''}")
        except Silent as error:
            silent = True
            print(f"audit: {'skipped: ' if given.or_skip else ''}{error}", file=sys.stderr)
        except RuntimeError as error:
            print(f"audit: {error}", file=sys.stderr)
            return 2
    return 1 if weak else 3 if silent and not given.or_skip else 0


if __name__ == "__main__":
    sys.exit(main())
