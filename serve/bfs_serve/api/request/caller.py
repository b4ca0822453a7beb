"""Who calls, as the guard found out: the owner of jobs, and the proof that the guard is in place."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from bfs_serve.api.service import Service
from bfs_serve.edge.signature import HEADER, SECRET_VARIABLE, CallerFacts, verified
from bfs_serve.problems import Problem, ProblemError

_REQUEST_ID = "x-request-id"

_bearer = HTTPBearer(auto_error=False, description="An API key, where the operator requires one.")


async def _caller(request: Request, _: Annotated[object, Depends(_bearer)]) -> str:
    return facts_of(request).name


def facts_of(request: Request) -> CallerFacts:
    """Who calls. Raises `ProblemError` when that is required and the guard has not said it."""
    key, value = request.app.state.secret, request.headers.get(HEADER)
    facts = verified(value, request.headers.get(_REQUEST_ID, ""), key) if value and key else None
    if facts is None and request.app.state.require_guard:
        raise ProblemError(guard_is_missing(has_secret=key is not None))
    return facts or CallerFacts("local")


def guard_is_missing(has_secret: bool = True) -> Problem:
    """Without the guard there are no limits and no keys, so nothing is answered."""
    if not has_secret:
        detail = f"Guard and service have no secret to know each other by: set {SECRET_VARIABLE} on all nodes, or close Ray with a token."
        return Problem("guard-missing", detail)
    detail = "The edge guard is not installed: start the nodes with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=bfs_serve.guard:middlewares."
    return Problem("guard-missing", detail)


async def _service(request: Request) -> Service:
    return request.app.state.service


Caller = Annotated[str, Depends(_caller)]
TheService = Annotated[Service, Depends(_service)]
