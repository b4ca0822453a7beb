"""What libraries ask Python's own modules while they are imported, with less work for the same answers.

torch asks 120 times where it is called from, and each time every module that is there is looked through for the line's text, which it
does not want. Versions of fifty distributions are asked for, and each time a whole long description is read.
"""

import functools
import importlib.metadata
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_VERSION = re.compile(r"^Version: *(\S+) *$", re.MULTILINE)


def install() -> None:
    """Answer from now on. To be called once."""
    importlib.metadata.packages_distributions = functools.partial(_Distributions, importlib.metadata.packages_distributions)
    importlib.metadata.version = functools.cache(functools.partial(_version, importlib.metadata.version))
    inspect.getframeinfo = functools.partial(_frame_info, inspect.getframeinfo)


def _version(read: Callable[[str], str], name: str) -> str:
    """Out of the text, not parsed: it stands in front of the description."""
    found = _VERSION.search(importlib.metadata.distribution(name).read_text("METADATA") or "")
    return found[1] if found else read(name)


def _frame_info(read: Callable[..., inspect.Traceback], frame: Any, context: int = 0) -> inspect.Traceback:
    """Without lines of the source around it, where they are not asked for by number."""
    return read(frame, context)


class _Distributions(Mapping[str, list[str]]):
    """Which distributions a package comes from, read from the disk when asked: diffusers wants to know of none that is here."""

    def __init__(self, read: Callable[[], Mapping[str, list[str]]]) -> None:
        self._all = functools.cache(read)

    def __getitem__(self, name: str) -> list[str]:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
