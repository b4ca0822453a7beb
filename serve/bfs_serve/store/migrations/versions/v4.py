"""What is kept free for results is known apart from what uploads weigh: a job that ends without a result gives it back."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of jobs that are there already it is not known, and stays kept until they expire."""
    op.add_column("jobs", sa.Column("reserved", sa.BigInteger, nullable=False, server_default="0"))
