"""Health, models and metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response

from bfs_serve import answers
from bfs_serve.caller import HEADER, Caller, TheBackend, guard_is_missing
from bfs_serve.metrics import CONTENT_TYPE
from bfs_serve.problems import ProblemError

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Would a layer be drawn now?", responses=answers.PROBLEM_RESPONSES)
async def readyz(request: Request, backend: TheBackend) -> dict[str, str]:
    if request.app.state.require_guard and HEADER not in request.headers:
        raise ProblemError(guard_is_missing())
    problem = await backend.ready()
    if problem is not None:
        raise ProblemError(problem)
    return {"status": "ready"}


@router.get("/v1/models", summary="What is being served?", responses=answers.PROBLEM_RESPONSES)
async def models(backend: TheBackend, caller: Caller) -> dict[str, Any]:
    served = await backend.models()
    return {"models": [{"name": m.name, "version": m.version, "capabilities": list(m.capabilities)} for m in served]}


@router.get("/metrics", summary="Counters as Prometheus text", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(backend: TheBackend, caller: Caller) -> Response:
    return Response(await backend.metrics(), media_type=CONTENT_TYPE)
