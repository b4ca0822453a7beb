"""The first schema: jobs, their events, idempotency keys, uses of blobs, leases, models, totals, counters."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create everything."""
    _create_jobs()
    _create_what_belongs_to_jobs()
    _create_what_the_service_shares()


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", _Serial, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("order", sa.JSON, nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("version", sa.String(512), nullable=False),
        sa.Column("batch", sa.String(128), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(128)),
        sa.Column("lease_until", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("expires_at", sa.Float),
        sa.Column("step", sa.Integer),
        sa.Column("steps", sa.Integer),
        sa.Column("outcome", sa.JSON),
        sa.Column("retryable", sa.Boolean, nullable=False),
        sa.Column("num_events", sa.Integer, nullable=False),
        sa.Column("num_bytes", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_status", "jobs", ["status", "seq"])
    op.create_index("jobs_by_owner", "jobs", ["owner", "seq"])
    op.create_index("jobs_by_expiry", "jobs", ["expires_at"])


def _create_what_belongs_to_jobs() -> None:
    op.create_table(
        "events",
        sa.Column("job", _Serial, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_index("keys_by_expiry", "keys", ["expires_at"])
    op.create_table(
        "uses",
        sa.Column("blob", sa.String(64), primary_key=True),
        sa.Column("job", _Serial, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    )
    op.create_index("uses_by_job", "uses", ["job"])


def _create_what_the_service_shares() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("version", sa.String(512), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
    )
    op.create_table(
        "totals",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(64), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
