"""Jobs: the user who started each."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; who started what is there already is not known."""
    op.add_column("jobs", sa.Column("started_by", sa.String(length=255), nullable=True))
