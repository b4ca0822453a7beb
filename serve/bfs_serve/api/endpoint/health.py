"""Health, models and metrics."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from bfs_platform.client.views import CandidateView, ModelPage, ModelView
from bfs_serve.api.answer import responses
from bfs_serve.api.metrics import CONTENT_TYPE
from bfs_serve.api.request.caller import Caller, TheService, facts_of
from bfs_serve.model.canary import is_over
from bfs_serve.model.models import info_of
from bfs_serve.problems import ProblemError

router = APIRouter(tags=["service"])

_SHOWN = ("default_steps", "true_cfg_scale", "window_size", "vocabulary", "licence")


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Would a layer be drawn now?", responses=responses.PROBLEM_RESPONSES)
async def readyz(request: Request, service: TheService) -> dict[str, str]:
    facts_of(request)
    problem = await service.ready()
    if problem is not None:
        raise ProblemError(problem)
    return {"status": "ready"}


@router.get("/v1/models", summary="What is being served?", responses={200: {"model": ModelPage}, **responses.PROBLEM_RESPONSES})
async def models(service: TheService, caller: Caller) -> ModelPage:
    published = await service.published(fresh=True)
    views = []
    for number, name in enumerate(service.names):
        version, body = published.get(name, ("", {"failed": {}}))
        info = info_of((version, body))
        state: Literal["ready", "failed", "loading"] = "ready" if info else "failed" if body["failed"] else "loading"
        shown = {} if info is None else {key: getattr(info, key) for key in _SHOWN} | {"capabilities": list(info.capabilities)}
        tried = _candidate(body.get("canary"))
        views.append(
            ModelView(name=name, version=version, state=state, default=number == 0, failed=body["failed"], candidate=tried, **shown)
        )
    return ModelPage(models=views)


def _candidate(trial: dict[str, Any] | None) -> CandidateView | None:
    """The last trial beside a model."""
    if not trial:
        return None
    verdict = trial["verdict"]
    state: Literal["tried", "promoted", "taken-back"] = "tried" if not verdict else "promoted" if verdict["good"] else "taken-back"
    share = 0.0 if is_over(trial) else trial["share"]
    reason = verdict["reason"] if verdict else None
    return CandidateView(version=trial["version"], state=state, share=share, since=trial["since"], reason=reason)


@router.get("/metrics", summary="Counters as Prometheus text", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: TheService, caller: Caller) -> Response:
    return Response(await service.scrape(), media_type=CONTENT_TYPE)
