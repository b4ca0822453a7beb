"""Work by lease: a worker claims jobs, says that it is still at them, and finishes them. A lease that ran out is all that is
needed to recover from the loss of a worker, a node or a controller."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bfs_serve.store import intake, rows, totals, versions
from bfs_serve.store.records import CANCELED, FAILED, QUEUED, RUNNING, SUCCEEDED, Claim, Limits, Outcome, Refusal, Wanted
from bfs_serve.store.tables import jobs, keys
from bfs_serve.telemetry import amounts

MAX_LOSSES = 2  # workers that may be lost over one job; what kills two would kill a third
_UNWANTED = {"slug": "interrupted", "detail": "No worker took the job; the model may be served no more.", "retry_after_s": 5}
_WITHOUT_RESULT = {"num_bytes": jobs.c.num_bytes - jobs.c.reserved, "reserved": 0}  # what was kept free for it is free again
LOST = {"slug": "interrupted", "detail": "The worker that drew the layer was lost, twice; try again.", "retry_after_s": 5}


def claim(connection: Connection, worker: str, wanted: Wanted, count: int, lease_s: float, limits: Limits, now: float) -> list[Claim]:
    """Take the oldest wanted job, and up to `count` - 1 more of the same batch, for `lease_s` seconds."""
    recover(connection, limits, now)
    waiting = sa.select(jobs).where(*_waits(wanted)).order_by(jobs.c.seq)
    found = list(connection.execute(waiting.limit(1).with_for_update(skip_locked=True)))
    if found and found[0].batch and count > 1:
        more = waiting.where(jobs.c.batch == found[0].batch, jobs.c.seq != found[0].seq).limit(count - 1)
        found += connection.execute(more.with_for_update(skip_locked=True)).all()
    claims, waits = [], []
    for row in found:
        held = {"status": RUNNING, "worker": worker, "lease_until": now + lease_s, "step": None, "steps": None}
        started = "started", {"attempt": row.attempt + 1}
        taken = rows.change(connection, jobs.c.seq == row.seq, event=started, attempt=row.attempt + 1, started_at=now, **held)
        assert taken is not None
        shown = taken.kind, taken.order, taken.model, taken.version, taken.batch
        claims.append(Claim(taken.id, taken.attempt, *shown, max(0.0, now - taken.created_at), taken.request_id or "", taken.trace or ""))
        waits += [amounts.of_seconds(amounts.QUEUE_SECONDS, claims[-1].waited_s)] * (taken.attempt == 1)
    totals.add(connection, amounts.merged(waits))
    return claims


def is_something_due(connection: Connection, wanted: Wanted, now: float) -> bool:
    """Whether a wanted job waits, or a lease has run out."""
    return connection.execute(_due(wanted), {"now": now}).first() is not None


@lru_cache(maxsize=16)
def _due(wanted: Wanted) -> sa.Select[tuple[int]]:
    """Made once: workers ask whenever something has changed, and making it costs more than asking."""
    lost = sa.and_(jobs.c.status == RUNNING, jobs.c.lease_until < sa.bindparam("now"))
    return sa.select(jobs.c.seq).where(sa.or_(sa.and_(*_waits(wanted)), lost)).limit(1)


def beat(
    connection: Connection, job_id: str, attempt: int, step: int | None, steps: int | None, preview: str | None, lease_s: float, now: float
) -> bool:
    """Prolong the lease, and tell of a step. Returns False when the job is no longer this attempt's: canceled, or given to another."""
    progress = {} if step is None else {"step": step, "steps": steps}
    event = ("progress", {"step": step, "steps": steps}) if step is not None else None
    row = rows.change(connection, *_held(job_id, attempt), event=event, lease_until=now + lease_s, **progress)
    if row is None:
        return False
    if preview is not None:
        rows.tell(connection, row.seq, "preview", {"step": step, "image": preview})
    return True


def finish(connection: Connection, job_id: str, attempt: int, outcome: Outcome, limits: Limits, now: float) -> bool:
    """End a job, or let the champion draw what a candidate failed. Returns False, and changes nothing, when it is no longer this
    attempt's. A result for which there is no room, since it weighs more than was reserved, is none."""
    if not outcome.succeeded and outcome.retryable and versions.redraw(connection, job_id, attempt, outcome):
        return True
    drawn_by = outcome  # that there is no room for it is no fault of the version
    if outcome.succeeded:
        outcome = _within_limits(connection, job_id, attempt, outcome, limits, now)
    status = SUCCEEDED if outcome.succeeded else FAILED
    ended: dict[str, Any] = {"finished_at": now, "expires_at": now + limits.ttl_s, "lease_until": None, "retryable": outcome.retryable}
    ended |= {"num_bytes": outcome.num_bytes, "reserved": 0} if outcome.succeeded else _WITHOUT_RESULT
    event = status, {} if outcome.succeeded else {"problem": outcome.body}
    row = rows.change(connection, *_held(job_id, attempt), event=event, status=status, outcome=outcome.body, **ended)
    if row is None:
        return False
    rows.use(connection, row.seq, outcome.blobs)
    outlives = keys.c.job_id == job_id, keys.c.expires_at < ended["expires_at"]  # a key is remembered as long as what it leads to
    connection.execute(sa.update(keys).where(*outlives).values(expires_at=ended["expires_at"]))
    drawn = amounts.of_seconds(amounts.GENERATION_SECONDS, outcome.seconds) if outcome.seconds is not None else {}
    by_version = versions.ended(row.version, drawn_by)
    totals.add(connection, amounts.merged([{(amounts.FINISHED, status): 1}, drawn, by_version, outcome.amounts]))
    return True


def _within_limits(connection: Connection, job_id: str, attempt: int, outcome: Outcome, limits: Limits, now: float) -> Outcome:
    """The outcome, or a failure where the result would take more than its owner, or everybody together, may have."""
    kept = connection.execute(sa.select(jobs.c.owner, jobs.c.num_bytes).where(*_held(job_id, attempt))).one_or_none()
    if kept is None or outcome.num_bytes <= kept.num_bytes:
        return outcome
    refusal = intake.no_room(connection, kept.owner, outcome.num_bytes - kept.num_bytes, limits, now)
    if refusal is None:
        return outcome
    slug, retry_after_s = ("quota", None) if refusal.reason == Refusal.QUOTA else ("full", 5)
    needs = -(-outcome.num_bytes // 2**20)
    detail = f"The result takes {needs} MiB, more than was kept free for it: {refusal.detail}; delete others and try again."
    problem: dict[str, Any] = {"slug": slug, "detail": detail, "errors": [], "retry_after_s": retry_after_s}
    return replace(outcome, succeeded=False, body=problem, blobs=(), num_bytes=0, retryable=True)


def release(connection: Connection, worker: str) -> int:
    """Give back all that a worker holds, because it stops; it counts as no loss. Returns how many jobs that are."""
    mine = sa.select(jobs.c.seq).where(jobs.c.status == RUNNING, jobs.c.worker == worker)
    held = connection.execute(mine.with_for_update()).scalars().all()  # what is canceled or finished meanwhile is not given back
    for seq in held:
        _requeue(connection, seq, "the worker is being stopped", lost=0)
    return len(held)


def cancel(connection: Connection, owner: str, job_id: str, limits: Limits, now: float) -> bool:
    """Cancel a job that is not finished. Returns whether this did; its worker learns it at its next beat."""
    mine = jobs.c.owner == owner, jobs.c.id == job_id, jobs.c.status.in_((QUEUED, RUNNING))
    ended = {"finished_at": now, "expires_at": now + limits.ttl_s, "lease_until": None} | _WITHOUT_RESULT
    if rows.change(connection, *mine, event=(CANCELED, {}), status=CANCELED, **ended) is None:
        return False
    totals.add(connection, {(amounts.FINISHED, CANCELED): 1})
    return True


def recover(connection: Connection, limits: Limits, now: float) -> int:
    """Queue jobs whose lease ran out again, or end those that lost their worker too often, and those that nobody took for as long
    as a key is remembered. Returns how many leases had run out."""
    lost = sa.select(jobs.c.seq, jobs.c.losses, jobs.c.model, jobs.c.version).where(jobs.c.status == RUNNING, jobs.c.lease_until < now)
    found = connection.execute(lost.with_for_update(skip_locked=True)).all()
    counted: list[amounts.Amounts] = []
    for row in found:
        if row.version:
            counted.append(versions.lost(row.version))
        if (champion := versions.instead_of(connection, row.model, row.version)) is not None:
            versions.pass_on(connection, row.seq, champion, "the candidate's worker was lost; the champion draws it")
            continue
        if row.losses + 1 < MAX_LOSSES:
            _requeue(connection, row.seq, "the worker was lost", lost=1)
            counted.append({(amounts.RETRIED, ""): 1})
            continue
        _fail(connection, row.seq, LOST, limits, now)
        counted.append({(amounts.FINISHED, FAILED): 1})
    waited = jobs.c.status == QUEUED, jobs.c.created_at < now - limits.key_ttl_s
    for seq in connection.execute(sa.select(jobs.c.seq).where(*waited).with_for_update(skip_locked=True)).scalars().all():
        _fail(connection, seq, _UNWANTED, limits, now)
        counted.append({(amounts.FINISHED, FAILED): 1})
    totals.add(connection, amounts.merged(counted))
    return len(found)


def _fail(connection: Connection, seq: int, problem: dict[str, object], limits: Limits, now: float) -> None:
    ended = {"finished_at": now, "expires_at": now + limits.ttl_s, "lease_until": None, "retryable": True} | _WITHOUT_RESULT
    rows.change(connection, jobs.c.seq == seq, event=(FAILED, {"problem": problem}), status=FAILED, outcome=problem, **ended)


def _requeue(connection: Connection, seq: int, reason: str, lost: int) -> None:
    idle = {"worker": None, "lease_until": None, "started_at": None, "step": None, "steps": None}
    rows.change(connection, jobs.c.seq == seq, event=(QUEUED, {"reason": reason}), status=QUEUED, losses=jobs.c.losses + lost, **idle)


def _waits(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    of_models = [] if wanted.models is None else [jobs.c.model.in_(wanted.models)]
    return [jobs.c.status == QUEUED, jobs.c.kind.in_(wanted.kinds), *of_models]


def _held(job_id: str, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.status == RUNNING
