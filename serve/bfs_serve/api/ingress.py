"""The HTTP API as a FastAPI application over a `Service`. It knows no Ray; `bfs_serve.app` deploys it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

import bfs_model
from bfs_model.errors import BadInput
from bfs_serve import problems
from bfs_serve.api import openapi, studio
from bfs_serve.api.endpoint import health, jobs, layers
from bfs_serve.api.methods import Methods
from bfs_serve.api.observed import REQUEST_ID, Observed
from bfs_serve.api.service import Service
from bfs_serve.edge.signature import secret
from bfs_serve.problems import Problem, ProblemError
from bfs_serve.store.blobs import BlobsAway
from bfs_serve.store.database import is_full
from bfs_serve.telemetry.logs import log

_ABOUT = """Draws an RGBA foreground layer, with its shadow and reflection, into a box of a background image.

A POST starts a job (202); with `Prefer: wait=N` it answers with the result. Errors are problem documents (RFC 9457)."""


Work = Callable[[], Coroutine[Any, Any, None]]


def create_app(service: Service, *, require_guard: bool = False, background: Sequence[Work] = (), ending: Sequence[Work] = ()) -> FastAPI:
    """The application. `require_guard`: answer only requests that came through `bfs_serve.guard`, which knows the caller.

    `background`: what runs for as long as the application does, each started anew should it fail. `ending`: what is done before it ends.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_forever(work)) for work in background]
        yield
        await asyncio.gather(*(work() for work in ending), return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        service.close()

    app = FastAPI(title="BFS", version=bfs_model.__version__, description=_ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.state.require_guard = require_guard
    app.state.secret = secret()
    routers = layers.router, jobs.router, health.router
    for router in routers:
        app.include_router(router)
    studio.mount(app)
    app.add_exception_handler(ProblemError, _answer(lambda error: error.problem))
    app.add_exception_handler(BadInput, _answer(problems.of_bad_input))
    app.add_exception_handler(RequestValidationError, _answer(lambda error: problems.of_validation(error.errors())))
    app.add_exception_handler(HTTPException, _answer(_of_http))
    app.add_exception_handler(Exception, _answer(_of_bug))
    app.add_middleware(Methods, routes=[*app.routes, *(route for router in routers for route in router.routes)])
    app.add_middleware(Observed, service=service, secret=app.state.secret)
    openapi.complete(app)
    return app


async def _forever(work: Work) -> None:
    while True:
        try:
            await work()
            return
        except Exception:
            log.exception("started again", work=getattr(work, "__qualname__", str(work)))
            await asyncio.sleep(1)


def _answer(to_problem: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        problem = to_problem(error)
        return Response(problem.encoded(instance_of(request)), problem.status, problem.all_headers())

    return handler


def instance_of(request: Request) -> str:
    """A name for this one request."""
    return f"urn:bfs:request:{request.scope[REQUEST_ID]}"


def _of_http(error: HTTPException) -> Problem:
    details = {404: "There is nothing at this address; see /openapi.json.", 405: "See the Allow header for the methods that are."}
    return problems.of_status(error.status_code, details.get(error.status_code, str(error.detail)), dict(error.headers or {}))


def _of_bug(error: Exception) -> Problem:
    """What the stores raise while a disk is full or they are away, and Ray while parts of the service start anew, is no bug."""
    if is_full(error):
        log.error("the disk is full", error=f"{type(error).__name__}: {error}"[:500])
        return problems.disk_full()
    if isinstance(error, SQLAlchemyError | BlobsAway) or type(error).__module__.startswith("ray."):
        log.warning("a request met a part that is away", error=f"{type(error).__name__}: {error}"[:500])
        return Problem("busy", "A part of the service is restarting or full; try again.", retry_after_s=2)
    log.error("a request failed", exc_info=error)
    return Problem("internal", "The service failed; its log names the cause.")
