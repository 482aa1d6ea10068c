"""Templates: training configurations saved under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make one table; those that are there stay as they are."""
    op.create_table(
        "training_templates",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("model_id", sa.String(length=512), nullable=True),
        sa.Column("dataset_id", sa.String(length=512), nullable=True),
        sa.Column("corpus", sa.Text(), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("favorite", sa.Boolean(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("updated_at", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.name"], name="fk_training_templates_model_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.name"], name="fk_training_templates_dataset_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_training_templates"),
    )
    op.create_index("uq_training_templates_name", "training_templates", ["name"], unique=True)
    op.create_index("ix_training_templates_model_id", "training_templates", ["model_id"])
    op.create_index("ix_training_templates_dataset_id", "training_templates", ["dataset_id"])
