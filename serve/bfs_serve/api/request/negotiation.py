"""What the caller wants back: `Accept` and `?format=` (RFC 9110 §12.5.1), and how long it will wait: `Prefer` (RFC 7240)."""

import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import WithJsonSchema

from bfs_serve.problems import Problem, ProblemError

# In order of preference: the first is what a caller without a wish gets.
MEDIA_TYPES = {
    "json": "application/json",
    "png": "image/png",
    "zip": "application/zip",
    "psd": "image/vnd.adobe.photoshop",
    "ora": "image/openraster",
}
# The published schema says what there is; anything else is answered with 406, as an Accept header would be.
Format = Annotated[str, WithJsonSchema({"type": "string", "enum": list(MEDIA_TYPES)})]
_WAIT = re.compile(r"""^wait\s*=\s*"?(\d{1,9})"?$""", re.IGNORECASE)


def choose_format(accepts: Sequence[str], wish: str | None = None) -> str:
    """The key of `MEDIA_TYPES` to answer with; `wish` (the query parameter) wins. Raises `ProblemError` 406.

    `accepts`: all Accept headers, which count as one list (RFC 9110 §5.3).
    """
    if wish is not None:
        if wish in MEDIA_TYPES:
            return wish
        raise _not_acceptable(f"format={wish[:40]}")
    accept = ",".join(accepts)
    if not accept.strip(", \t"):
        return "json"
    ranges = [_parse_range(part) for part in accept.split(",")]
    best = max(MEDIA_TYPES, key=lambda name: _quality(MEDIA_TYPES[name], ranges))  # max keeps the first of equals
    if _quality(MEDIA_TYPES[best], ranges) <= 0:
        raise _not_acceptable(f"Accept: {accept[:100]}")
    return best


def preferred_wait_s(prefer: list[str], longest_s: float) -> float | None:
    """Seconds that the caller is ready to wait, at most `longest_s`; None when it asks for none.

    With `respond-async` beside it, `wait` says how long until the answer may come later (RFC 7240 §4.3): the same to us.
    """
    wishes = [part.strip() for header in prefer for part in re.split("[,;]", header)]
    for wish in wishes:
        if found := _WAIT.match(wish):
            return min(float(found[1]), longest_s) or None
    return None


def _parse_range(text: str) -> tuple[str, float]:
    media, *parameters = [part.strip() for part in text.split(";")]
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media.lower(), quality if math.isfinite(quality) else 0.0


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """The q of the most specific range that covers `media`; 0 when none does."""
    found, specificity = 0.0, -1
    for pattern, quality in ranges:
        rank = {media: 2, media.partition("/")[0] + "/*": 1, "*/*": 0}.get(pattern, -1)
        if rank > specificity:
            found, specificity = quality, rank
    return found


def _not_acceptable(asked: str) -> ProblemError:
    offered = ", ".join(f"{name} ({media})" for name, media in MEDIA_TYPES.items())
    return ProblemError(Problem("not-acceptable", f"{asked} cannot be given; choose one of {offered}."))
