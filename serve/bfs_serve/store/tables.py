"""The tables. A change here needs a migration beside the others in `migrations/versions`; a test compares both."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table

metadata = MetaData()

# SQLite counts rows by itself only in a column of its type INTEGER.
_Serial = BigInteger().with_variant(Integer(), "sqlite")

jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("owner", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("order", JSON, nullable=False),
    Column("model", String(512), nullable=False),
    Column("version", String(512), nullable=False),
    Column("batch", String(128), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("worker", String(128)),
    Column("lease_until", Float),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("expires_at", Float),
    Column("step", Integer),
    Column("steps", Integer),
    Column("outcome", JSON),
    Column("retryable", Boolean, nullable=False),
    Column("num_events", Integer, nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    Column("request_id", String(64)),
    Column("trace", String(64)),
    # Sequence numbers are never used again, also after the newest job was purged.
    sqlite_autoincrement=True,
)
Index("jobs_by_status", jobs.c.status, jobs.c.seq)
Index("jobs_by_owner", jobs.c.owner, jobs.c.seq)
Index("jobs_by_expiry", jobs.c.expires_at, jobs.c.owner, jobs.c.num_bytes)  # also answers what is kept, of whom, without a row

events = Table(
    "events",
    metadata,
    Column("job", _Serial, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(16), nullable=False),
    Column("data", JSON, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("job_id", String(32), nullable=False),
    Column("expires_at", Float, nullable=False),
)
Index("keys_by_expiry", keys.c.expires_at)

uses = Table(
    "uses",
    metadata,
    Column("blob", String(64), primary_key=True),
    Column("job", _Serial, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
)
Index("uses_by_job", uses.c.job)

leases = Table(
    "leases",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("until", Float, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("version", String(512), nullable=False),
    Column("body", JSON, nullable=False),
    Column("updated_at", Float, nullable=False),
)

totals = Table(
    "totals",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("value", Float, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("key", String(256), primary_key=True),
    Column("value", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
)
