"""The HTTP API as a FastAPI application over a `Backend`. It knows no Ray; `bfs_serve.app` deploys it."""

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import bfs_model
from bfs_model.errors import BadInput
from bfs_serve import health, jobs_api, layers_api, problems
from bfs_serve.backend import Backend
from bfs_serve.problems import Problem, ProblemError

logger = logging.getLogger("bfs_serve")

_ABOUT = """Draws an RGBA foreground layer, with its shadow and reflection, into a box of a background image.

`POST /v1/layers` starts a job (202); with `Prefer: wait=N` it answers with the result. Errors are problem documents (RFC 9457)."""


def create_app(backend: Backend, *, require_guard: bool = False) -> FastAPI:
    """The application. `require_guard`: answer only requests that came through `bfs_serve.guard`, which knows the caller."""
    app = FastAPI(title="BFS", version=bfs_model.__version__, description=_ABOUT, docs_url=None, redoc_url=None)
    app.state.backend = backend
    app.state.require_guard = require_guard
    app.state.admission = layers_api.Admission()
    app.include_router(layers_api.router)
    app.include_router(jobs_api.router)
    app.include_router(health.router)
    app.add_exception_handler(ProblemError, _answer(lambda error: error.problem))
    app.add_exception_handler(BadInput, _answer(problems.of_bad_input))
    app.add_exception_handler(RequestValidationError, _answer(lambda error: problems.of_validation(error.errors())))
    app.add_exception_handler(HTTPException, _answer(_of_http))
    app.add_exception_handler(Exception, _answer(_of_bug))
    return app


def _answer(to_problem: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        problem = to_problem(error)
        return Response(problem.encoded(instance_of(request)), problem.status, problem.all_headers())

    return handler


def instance_of(request: Request) -> str:
    """A name for this one request: its id when Serve gave it one."""
    return f"urn:bfs:request:{request.headers.get('x-request-id') or uuid.uuid4()}"


def _of_http(error: HTTPException) -> Problem:
    details = {404: "There is nothing at this address; see /openapi.json.", 405: "See the Allow header for the methods that are."}
    return problems.of_status(error.status_code, details.get(error.status_code, str(error.detail)), dict(error.headers or {}))


def _of_bug(error: Exception) -> Problem:
    """What Serve raises when a deployment is missing or full is no bug of ours; all else is."""
    name = type(error).__name__
    if name in ("BackPressureError", "DeploymentUnavailableError") or "ActorDiedError" in name or "ActorUnavailableError" in name:
        return Problem("busy", "A part of the service is restarting or full; try again.", retry_after_s=2)
    logger.error("a request failed", exc_info=error)
    return Problem("internal", "The service failed; its log names the cause.")
