"""The library of SAEs: where each was downloaded from, notes and tags, statistics, and the sizes of its files."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = "external_saes"


def upgrade() -> None:
    """Add columns and indexes; rows that are there keep all they have."""
    for column in (
        sa.Column("d_out", sa.BigInteger(), nullable=True),
        sa.Column("dtype", sa.String(length=32), nullable=True),
        sa.Column("repo_id", sa.String(length=255), nullable=True),
        sa.Column("revision", sa.String(length=64), nullable=True),
        sa.Column("repo_path", sa.String(length=512), nullable=True),
        sa.Column("notes", sa.Text(), server_default="", nullable=False),
        sa.Column("tags", sa.Text(), server_default="[]", nullable=False),
        sa.Column("statistics", sa.Text(), nullable=True),
        sa.Column("files", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.Float(precision=53), server_default="0", nullable=False),
    ):
        op.add_column(TABLE, column)
    op.execute(f"UPDATE {TABLE} SET updated_at = created_at")
    op.create_index("ix_external_saes_architecture", TABLE, ["architecture"])
    op.create_index("ix_external_saes_format", TABLE, ["format"])
    op.create_index("ix_external_saes_layer", TABLE, ["layer"])
    op.create_index("ix_external_saes_source_created_at", TABLE, ["source", "created_at"])
    op.create_index(
        "uq_external_saes_repo_id_revision_repo_path", TABLE, ["repo_id", "revision", "repo_path"], unique=True
    )
