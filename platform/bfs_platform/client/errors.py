"""What went wrong, as an exception: `BadInput` for what the caller can correct, `ServiceError` for everything else."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from bfs_model.errors import BadInput

PASSING = (408, 429, 502, 503, 504)
_ENTRY = {"key", "value", "rule", "remedy"}

View = TypeVar("View", bound=BaseModel)


class ServiceError(RuntimeError):
    """The service cannot be reached, is busy for too long, or failed. `status` is None where nothing was answered.

    `problem`: its problem document (RFC 9457), empty where it sent none.
    """

    def __init__(self, message: str, status: int | None = None, problem: Mapping[str, Any] | None = None) -> None:
        self.status, self.problem = status, dict(problem or {})
        super().__init__(message)


def raised(answer: httpx2.Response, url: str) -> httpx2.Response:
    """A good answer itself; for any other raises `BadInput` or `ServiceError`."""
    if answer.status_code < 300:
        return answer
    raise of_answer(answer, url)


def of_answer(answer: httpx2.Response, url: str) -> BadInput | ServiceError:
    """The error that an answer means."""
    problem = _problem_of(answer)
    if problem:
        return of_problem(problem, answer.status_code, url)
    return ServiceError(f"url={url} answered {answer.status_code} {answer.reason_phrase}; it may not be a BFS service", answer.status_code)


def of_problem(problem: Mapping[str, Any], status: int, url: str) -> BadInput | ServiceError:
    """The error that a problem document means."""
    said = str(problem.get("detail") or problem.get("title") or "").rstrip(".")
    if status >= 500 or status in PASSING:
        return ServiceError(f"url={url} {said or f'answered {status}'}", status, problem)
    for entry in problem.get("errors") or []:
        if set(entry) >= _ENTRY:
            return BadInput(entry["key"], entry["value"], entry["rule"], entry["remedy"])
        if {"pointer", "detail"} <= set(entry):
            said = f"{str(entry['pointer']).strip('/')}: {entry['detail']}".rstrip(".")
    return BadInput("url", url, f"refused the request with status {status}", said)


def unreachable(error: Exception, url: str) -> ServiceError:
    """The error that a broken connection means."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ServiceError(f"url={url} cannot be reached or broke off ({reason}); is the service running there?")


def parsed(view: type[View], answer: httpx2.Response, url: str) -> View:
    """A good answer as one of the `views`. Raises `ServiceError` where it is something else."""
    try:
        return view.model_validate_json(answer.content)
    except ValidationError:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip() or "nothing"
        raise ServiceError(f"url={url} answered with {kind} that is no {view.__name__}; it may not be a BFS service") from None


def _problem_of(answer: httpx2.Response) -> dict[str, Any]:
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
