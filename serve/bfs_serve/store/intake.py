"""Taking jobs on: idempotency keys, limits, and the row itself. One transaction, alone."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bfs_serve.store import rows, totals
from bfs_serve.store.records import FAILED, QUEUED, Job, Limits, NewJob, Refusal
from bfs_serve.store.tables import jobs, keys
from bfs_serve.telemetry import amounts


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job, and whether it is that of an earlier request with the same idempotency key."""

    job: Job
    replayed: bool = False


def submit(connection: Connection, new: NewJob, limits: Limits, now: float) -> Accepted | Refusal:
    """Take a job on, unless its key says that it was already, or a limit that there is no room."""
    if new.key is not None:
        known = _known(connection, new, now)
        if known is not None:
            if isinstance(known, Accepted):
                _remember(connection, new, known.job.id, now + limits.key_ttl_s)
            return known
    refusal = _refusal(connection, new, limits, now)
    if refusal is not None:
        return refusal
    row = connection.execute(sa.insert(jobs).values(_row(new, now)).returning(jobs)).one()
    rows.use(connection, row.seq, new.blobs)
    job = rows.to_job(connection, row)
    rows.tell(connection, row.seq, QUEUED, {"position": job.position})
    if new.key is not None:
        _remember(connection, new, job.id, now + limits.key_ttl_s)
    totals.add(connection, {(amounts.ACCEPTED, new.kind): 1})
    return Accepted(replace(job, num_events=1))


def refused(connection: Connection, new: NewJob, limits: Limits, now: float) -> Refusal | None:
    """Why `submit` would not take this job on; it changes nothing."""
    known = _known(connection, new, now) if new.key is not None else None
    if known is not None:
        return known if isinstance(known, Refusal) else None
    return _refusal(connection, new, limits, now)


def full(connection: Connection, owner: str, limits: Limits, now: float) -> Refusal | None:
    """Why no further job of this owner may wait. Looks at those that wait alone: it is asked before every request."""
    mine = sa.func.coalesce(sa.func.sum(sa.case((jobs.c.owner == owner, 1), else_=0)), 0)
    queued, own = connection.execute(sa.select(sa.func.count(), mine).where(jobs.c.status == QUEUED)).one()
    if queued >= limits.max_queued:
        return Refusal(Refusal.QUEUE_FULL, f"{limits.max_queued} jobs are waiting already")
    if own >= limits.owner_max_queued:
        return Refusal(Refusal.OWNER_QUEUE_FULL, f"{limits.owner_max_queued} of your jobs are waiting already")
    return None


def _row(new: NewJob, now: float) -> dict[str, Any]:
    names = ("owner", "kind", "order", "model", "version", "batch", "num_bytes", "reserved", "request_id", "trace")
    given = {name: getattr(new, name) for name in names}
    fresh = {"id": new.id or secrets.token_hex(16), "status": QUEUED, "created_at": now}
    return given | fresh | {"attempt": 0, "losses": 0, "retryable": False, "num_events": 0}


def _known(connection: Connection, new: NewJob, now: float) -> Accepted | Refusal | None:
    """What an earlier request with this key leads to; None when the job is to be taken on (again)."""
    own = keys.c.owner == new.owner, keys.c.key == new.key, keys.c.expires_at > now
    found = connection.execute(sa.select(keys.c.digest, keys.c.job_id).where(*own)).one_or_none()
    if found is None:
        return None
    if found.digest != new.digest:
        return Refusal(Refusal.KEY_REUSED, "Idempotency-Key was used for a different request; choose a new one.")
    row = connection.execute(sa.select(jobs).where(jobs.c.id == found.job_id)).one_or_none()
    if row is not None and row.status == FAILED and row.retryable:
        return None
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return Refusal(Refusal.KEY_SPENT, "The result of this Idempotency-Key has expired; choose a new one to draw it again.")
    return Accepted(rows.to_job(connection, row), replayed=True)


def _remember(connection: Connection, new: NewJob, job_id: str, until: float) -> None:
    own = keys.c.owner == new.owner, keys.c.key == new.key
    values = {"digest": new.digest, "job_id": job_id, "expires_at": until}
    if not connection.execute(sa.update(keys).where(*own).values(values)).rowcount:
        connection.execute(sa.insert(keys).values(owner=new.owner, key=new.key, **values))


def _refusal(connection: Connection, new: NewJob, limits: Limits, now: float) -> Refusal | None:
    """Why there is no room. What others keep is never thrown away for it."""
    most = min(limits.owner_max_bytes, limits.max_bytes)
    if new.num_bytes > most:
        needs, has = -(-new.num_bytes // 2**20), most // 2**20
        return Refusal(Refusal.NEVER_FITS, f"its pictures and results may take {needs} MiB, and no job may take more than {has} MiB")
    if (no_place := full(connection, new.owner, limits, now)) is not None:
        return no_place
    return no_room(connection, new.owner, new.num_bytes, limits, now)


def no_room(connection: Connection, owner: str, more: int, limits: Limits, now: float) -> Refusal | None:
    """Why there is no room for so many bytes more of an owner, by what is kept for everybody's jobs until they expire."""
    alive = sa.func.coalesce(jobs.c.expires_at, now + 1) > now  # for an `or` SQLite would read the rows beside the index
    held = sa.func.coalesce(sa.func.sum(jobs.c.num_bytes), 0).label("bytes")
    owned = sa.func.coalesce(sa.func.sum(jobs.c.num_bytes * sa.case((jobs.c.owner == owner, 1), else_=0)), 0).label("owner_bytes")
    counted = connection.execute(sa.select(held, owned).where(alive)).one()
    if counted.owner_bytes + more > limits.owner_max_bytes:
        return Refusal(Refusal.QUOTA, f"your jobs and results would take more than {limits.owner_max_bytes // 2**20} MiB")
    if counted.bytes + more > limits.max_bytes:
        return Refusal(Refusal.STORE_FULL, "no room is free for another job")
    return None
