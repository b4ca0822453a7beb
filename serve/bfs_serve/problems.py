"""RFC 9457 problem documents: the one shape in which the service says no."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bfs_model.errors import BadInput

MEDIA_TYPE = "application/problem+json"

# slug -> (status, title)
KINDS: dict[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "unauthorized": (401, "An API key is required"),
    "forbidden": (403, "This request is not allowed"),
    "not-found": (404, "There is no such thing here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "not-acceptable": (406, "None of the accepted formats can be given"),
    "request-timeout": (408, "The request took too long to arrive or to answer"),
    "not-finished": (409, "The job is not finished"),
    "canceled": (409, "The job was canceled"),
    "expired": (410, "The result has expired"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The format is not supported"),
    "invalid": (422, "The request is not valid"),
    "unsupported-by-model": (422, "The loaded model cannot do this"),
    "idempotency-key-reused": (422, "The idempotency key belongs to another request"),
    "too-many-requests": (429, "Too many requests"),
    "quota": (507, "There is no room for more of your jobs"),
    "internal": (500, "The service failed"),
    "busy": (503, "The service is busy"),
    "full": (503, "The service has no room for the job"),
    "not-ready": (503, "The service is not ready"),
    "guard-missing": (503, "The service is not protected"),
    "interrupted": (503, "The work was interrupted"),
}
_MAX_ERRORS = 20  # a body of a thousand unknown keys would be answered with a larger one
_BY_STATUS = {400: "malformed", 404: "not-found", 405: "method-not-allowed", 406: "not-acceptable", 408: "request-timeout"}
_BY_STATUS |= {401: "unauthorized", 403: "forbidden", 409: "not-finished", 413: "too-large", 415: "unsupported-media-type"}
_BY_STATUS |= {422: "invalid", 429: "too-many-requests", 503: "busy"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is not answered as asked. `slug` is a key of `KINDS`; `retry_after_s` is sent as `Retry-After`."""

    slug: str
    detail: str
    errors: tuple[dict[str, Any], ...] = ()
    retry_after_s: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status_code: int | None = None

    @property
    def status(self) -> int:
        return self.status_code or KINDS[self.slug][0]

    def body(self, instance: str | None = None) -> dict[str, Any]:
        """The JSON object. `instance` names this one occurrence (the request id)."""
        body: dict[str, Any] = {"type": f"urn:bfs:problem:{self.slug}", "title": KINDS[self.slug][1], "status": self.status}
        body["detail"] = self.detail
        if instance:
            body["instance"] = instance
        if self.errors:
            body["errors"] = list(self.errors)
        return body

    def stored(self) -> dict[str, Any]:
        """As a row of the job store holds it; `restored` gives it back."""
        return {"slug": self.slug, "detail": self.detail, "errors": list(self.errors), "retry_after_s": self.retry_after_s}

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> "Problem":
        """A problem that was `stored`."""
        return cls(stored["slug"], stored["detail"], tuple(stored.get("errors") or ()), stored.get("retry_after_s"))

    def encoded(self, instance: str | None = None) -> bytes:
        """UTF-8 JSON in ASCII only, so that nothing a caller sent can break the encoding."""
        return json.dumps(self.body(instance), ensure_ascii=True).encode()

    def all_headers(self) -> dict[str, str]:
        retry = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"} | retry | self.headers


class ProblemError(Exception):
    """Carries a problem up to the handler that answers it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


def of_status(status: int, detail: str, headers: dict[str, str] | None = None) -> Problem:
    """A problem for a bare HTTP status, as frameworks raise it."""
    slug = _BY_STATUS.get(status, "internal" if status >= 500 else "malformed")
    return Problem(slug, detail, headers=headers or {}, status_code=status)


def disk_full() -> Problem:
    """What the service could not write down."""
    return Problem("full", "The service's disk is full: what it has it keeps, and this it did not take. Try again later.", retry_after_s=60)


def of_bad_input(error: BadInput, slug: str = "invalid", pointer: str | None = None) -> Problem:
    """A problem that says key, value, rule and remedy."""
    return Problem(slug, str(error), errors=(entry(error, pointer),))


def entry(error: BadInput, pointer: str | None = None) -> dict[str, Any]:
    """One member of `errors` for an input that the caller can correct."""
    shown = str(error.value)
    value = shown if len(shown) <= 200 else shown[:197] + "..."
    said = {"key": error.key, "value": value, "rule": error.rule, "remedy": error.remedy}
    return {"pointer": pointer or f"/{error.key}", "detail": str(error), **said}


def of_validation(found: Iterable[Mapping[str, Any]]) -> Problem:
    """All that pydantic found, as one problem. What the caller sent is shown only where a rule of ours shows it."""
    found, errors = list(found), []
    for one in found[:_MAX_ERRORS]:
        pointer = "/" + "/".join(str(part)[:80].replace("~", "~0").replace("/", "~1") for part in one["loc"])
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, BadInput):
            errors.append(entry(BadInput(str(one["loc"][0])[:80], cause.value, cause.rule, cause.remedy), pointer[:200]))
        else:
            errors.append({"pointer": pointer[:200], "detail": one["msg"], "rule": one["type"]})
    detail = errors[0]["detail"] if len(errors) == 1 else f"{len(found)} fields are not valid; see errors."
    return Problem("invalid", detail, errors=tuple(errors))
