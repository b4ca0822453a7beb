"""What a caller sees of a job, and the files of its result."""

from datetime import UTC, datetime
from typing import Any

from bfs_serve.job import orders
from bfs_serve.job.orders import DocumentOrder, Drawn, LayerOrder
from bfs_serve.job.results import Result, result_of
from bfs_serve.problems import Problem
from bfs_serve.store.records import FAILED, SUCCEEDED, Job


def view_of(job: Job) -> dict[str, Any]:
    """`client.views.JobView`; members that do not apply are left out."""
    order = orders.parse(job.kind, job.order)
    path = f"/v1/jobs/{job.id}"
    shown: dict[str, Any] = {"id": job.id, "kind": job.kind, "status": job.status, "created_at": _iso(job.created_at)}
    for name in ("started_at", "finished_at", "expires_at"):
        if (moment := getattr(job, name)) is not None:
            shown[name] = _iso(moment)
    if job.position is not None:
        shown["queue_position"] = job.position
    if job.step is not None:
        shown["progress"] = {"step": job.step, "steps": job.steps}
    shown |= {"attempt": job.attempt, "width": order.width, "height": order.height}
    shown |= {name: getattr(order, name) for name in ("box", "prompt", "seed", "steps") if getattr(order, name, None) is not None}
    if isinstance(order, LayerOrder):
        shown["seeds"] = order.seeds
    if isinstance(order, DocumentOrder):
        shown["seeds"] = [layer.seed for layer in order.layers]
    if job.version:
        shown["model"] = {"name": job.model, "version": job.version}
    if job.status == SUCCEEDED:
        result = result_of(job)
        shown |= {"warnings": result.warnings, "timings": _timings(job, result)}
    if (problem := problem_of(job)) is not None:
        shown["problem"] = problem.body(path)
    shown["num_events"] = job.num_events
    if job.request_id:
        shown["request_id"] = job.request_id
    shown["links"] = {"self": path, "events": f"{path}/events", "result": f"{path}/result"}
    return shown


def problem_of(job: Job) -> Problem | None:
    """Why a job failed, if it did."""
    return Problem.restored(job.outcome) if job.status == FAILED and job.outcome is not None else None


def seed_of(job: Job) -> int | None:
    """The seed of a job that has one."""
    order = orders.parse(job.kind, job.order)
    return order.seed if isinstance(order, Drawn) else None


def _timings(job: Job, result: Result) -> dict[str, float]:
    assert job.started_at is not None and job.finished_at is not None
    waited, total = job.started_at - job.created_at, job.finished_at - job.created_at
    return {"queued_s": round(waited, 4), "generation_s": round(result.seconds, 4), "total_s": round(total, 4)}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
