"""Who calls, as the guard found out: the owner of jobs, and the proof that the guard is in place."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from bfs_serve.backend import Backend
from bfs_serve.problems import Problem, ProblemError

HEADER = "x-bfs-caller"  # set by the guard, which removes it from whatever comes from outside
_NOBODY = "local"

_bearer = HTTPBearer(auto_error=False, description="An API key, where the operator requires one.")


async def _caller(request: Request, _: Annotated[object, Depends(_bearer)]) -> str:
    name = request.headers.get(HEADER)
    if name is None and request.app.state.require_guard:
        raise ProblemError(guard_is_missing())
    return name or _NOBODY


def guard_is_missing() -> Problem:
    """Without the guard there are no limits and no keys, so nothing is answered."""
    detail = "The edge guard is not installed: start the nodes with RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=bfs_serve.guard:middlewares."
    return Problem("guard-missing", detail)


async def _backend(request: Request) -> Backend:
    return request.app.state.backend


Caller = Annotated[str, Depends(_caller)]
TheBackend = Annotated[Backend, Depends(_backend)]
