"""Stores of activations: captured once, trained from many times."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make one table; those that are there stay as they are."""
    op.create_table(
        "activation_stores",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=True),
        sa.Column("corpus", sa.Text(), nullable=False),
        sa.Column("hook_names", sa.Text(), nullable=False),
        sa.Column("dtype", sa.String(length=16), nullable=True),
        sa.Column("context_size", sa.BigInteger(), nullable=True),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("tokens_total", sa.BigInteger(), nullable=False),
        sa.Column("n_tokens", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("files", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=160), nullable=True),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("source IN ('captured', 'imported')", name=op.f("ck_activation_stores_source")),
        sa.CheckConstraint("tokens_total > 0", name=op.f("ck_activation_stores_tokens_total")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_activation_stores_job_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_activation_stores"),
    )
    op.create_index("ix_activation_stores_created_at", "activation_stores", ["created_at"])
    op.create_index("ix_activation_stores_job_id", "activation_stores", ["job_id"])
