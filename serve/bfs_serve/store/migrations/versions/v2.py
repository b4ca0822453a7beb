"""Jobs know the request and the trace that they came with."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Jobs that are there already have neither."""
    for name in ("request_id", "trace"):
        op.add_column("jobs", sa.Column(name, sa.String(64)))
