"""Views of many jobs, and what is done now and then: forgetting what has expired, holding a lease for one of many to do it."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bfs_model.errors import BadInput
from bfs_serve.store import rows
from bfs_serve.store.records import FAILED, QUEUED, RUNNING, Depth, Event, Page
from bfs_serve.store.tables import counters, events, jobs, keys, leases, models, uses

_PURGED_AT_ONCE = 500
# Made once: they are asked whenever something has changed, and making them costs more than asking.
_TOLD = sa.select(jobs.c.id, jobs.c.num_events).where(jobs.c.id.in_(sa.bindparam("ids", expanding=True)))
_UNDER_WAY = sa.select(jobs.c.id).where(jobs.c.id.in_(sa.bindparam("ids", expanding=True)), jobs.c.status.in_((QUEUED, RUNNING)))


def page(connection: Connection, owner: str, status: str | None, limit: int, cursor: str | None, now: float) -> Page:
    """`limit` jobs of an owner, newest first, from `cursor` on. Raises `BadInput` for a cursor that is none."""
    wanted = rows.of_owner(owner, now).order_by(jobs.c.seq.desc()).limit(limit + 1)
    if status is not None:
        wanted = wanted.where(jobs.c.status == status)
    if cursor is not None:
        wanted = wanted.where(jobs.c.seq < _seq(cursor))
    found = connection.execute(wanted).all()
    shown = [rows.to_job(connection, row) for row in found[:limit]]
    return Page(shown, f"{found[limit - 1].seq:x}" if len(found) > limit else None)


def events_after(connection: Connection, owner: str, job_id: str, after: int, now: float) -> list[Event] | None:
    """The events of a job with an id above `after`, oldest first; None where this owner has no such job, or all were told."""
    alive = sa.or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > now)
    mine = sa.select(jobs.c.seq, jobs.c.num_events, jobs.c.finished_at).where(jobs.c.id == job_id, jobs.c.owner == owner, alive)
    job = connection.execute(mine).one_or_none()
    if job is None or (job.finished_at is not None and after >= job.num_events):
        return None
    told = sa.select(events.c.id, events.c.name, events.c.data).where(events.c.job == job.seq, events.c.id > after)
    return [Event(*row) for row in connection.execute(told.order_by(events.c.id))]


def under_way(connection: Connection, job_ids: Collection[str], now: float) -> set[str]:
    """Those of some jobs that wait or run."""
    return set(connection.execute(_UNDER_WAY, {"ids": list(job_ids)}).scalars())


def told(connection: Connection, job_ids: Collection[str], now: float) -> dict[str, int]:
    """{job: how many events there are of it} of those jobs that there are."""
    return {str(row.id): int(row.num_events) for row in connection.execute(_TOLD, {"ids": list(job_ids)})}


def depth(connection: Connection, kinds: tuple[str, ...] | None, now: float) -> Depth:
    """How much there is to do, of some kinds of jobs or of all."""
    of_kinds = [] if kinds is None else [jobs.c.kind.in_(kinds)]
    waits, runs = (sa.case((jobs.c.status == status, 1), else_=0) for status in (QUEUED, RUNNING))
    since = sa.case((jobs.c.status == QUEUED, jobs.c.created_at))
    sums = sa.select(sa.func.sum(waits), sa.func.sum(runs), sa.func.sum(jobs.c.num_bytes), sa.func.min(since)).where(*of_kinds)
    queued, running, num_bytes, oldest = connection.execute(sums).one()
    open_jobs = sa.select(jobs.c.version, sa.func.count()).where(jobs.c.status.in_((QUEUED, RUNNING)), *of_kinds).group_by(jobs.c.version)
    by_version = {str(version): int(count) for version, count in connection.execute(open_jobs)}
    return Depth(int(queued or 0), int(running or 0), int(num_bytes or 0), max(0.0, now - oldest) if oldest else 0.0, by_version)


def discard(connection: Connection, owner: str, job_id: str, now: float) -> bool:
    """Let a finished job expire now. Returns whether there was one."""
    mine = jobs.c.owner == owner, jobs.c.id == job_id, jobs.c.finished_at.is_not(None), jobs.c.expires_at > now
    return rows.change(connection, *mine, expires_at=now) is not None


def purge(connection: Connection, now: float) -> list[str]:
    """Forget jobs, keys and counters whose time is over. Returns the blobs that nobody uses any more."""
    for table in (keys, counters):
        connection.execute(sa.delete(table).where(table.c.expires_at <= now))
    expired = sa.select(jobs.c.seq).where(jobs.c.expires_at <= now).limit(_PURGED_AT_ONCE)
    gone = connection.execute(expired).scalars().all()
    if not gone:
        return []
    candidates = set(connection.execute(sa.select(uses.c.blob).where(uses.c.job.in_(gone))).scalars())
    for table in (uses, events):
        connection.execute(sa.delete(table).where(table.c.job.in_(gone)))
    failed = sa.select(jobs.c.id).where(jobs.c.seq.in_(gone), jobs.c.status == FAILED, jobs.c.retryable)
    connection.execute(sa.delete(keys).where(keys.c.job_id.in_(failed)))  # there never was a result that they could stand for
    connection.execute(sa.delete(jobs).where(jobs.c.seq.in_(gone)))
    return sorted(candidates - used(connection, candidates))


def used(connection: Connection, blobs: set[str]) -> set[str]:
    """Those of `blobs` that some job uses, or that are the smoke picture of a published version."""
    of_jobs = set(connection.execute(sa.select(uses.c.blob).where(uses.c.blob.in_(blobs)).distinct()).scalars())
    bodies = connection.execute(sa.select(models.c.body)).scalars().all()
    return of_jobs | blobs.intersection(part.get("smoke", "") for body in bodies for part in (body, body.get("canary") or {}))


def hold(connection: Connection, name: str, holder: str, lease_s: float, now: float) -> bool:
    """Take or prolong the lease of a name, which one holder has at a time. Returns whether `holder` has it."""
    free = leases.c.name == name, sa.or_(leases.c.holder == holder, leases.c.until < now)
    values = {"holder": holder, "until": now + lease_s}
    if connection.execute(sa.update(leases).where(*free).values(values)).rowcount:
        return True
    if connection.execute(sa.select(leases.c.name).where(leases.c.name == name)).first() is not None:
        return False
    connection.execute(sa.insert(leases).values(name=name, **values))
    return True


def holders(connection: Connection, prefix: str, now: float) -> int:
    """How many leases with names that begin like this are held."""
    held = leases.c.name.startswith(prefix, autoescape=True), leases.c.until > now
    return int(connection.execute(sa.select(sa.func.count()).where(*held)).scalar_one())


def let_go(connection: Connection, name: str, holder: str) -> None:
    """Give a lease back."""
    connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def _seq(cursor: str) -> int:
    try:
        return int(cursor, 16)
    except ValueError:
        raise BadInput("cursor", cursor[:40], "is not a cursor of this list", "take it from the Link header") from None
