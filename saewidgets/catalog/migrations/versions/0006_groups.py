"""Trainings that share a job: how each of them ended, and which of them a line of the job's log belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add columns; what is there stays as it is."""
    for column in (
        sa.Column("own_status", sa.String(length=16), nullable=True),
        sa.Column("own_command", sa.String(length=16), nullable=True),
        sa.Column("own_error", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Float(precision=53), nullable=True),
    ):
        op.add_column("trainings", column)
    op.add_column("job_logs", sa.Column("training_id", sa.String(length=160), nullable=True))
