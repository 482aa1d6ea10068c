"""Extractions; labels, stars and notes of latents, and the examples that labels were made from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make four tables; those that are there stay as they are."""
    op.create_table(
        "extraction_jobs",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("training_id", sa.String(length=160), nullable=True),
        sa.Column("external_sae_id", sa.String(length=160), nullable=True),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("hook_name", sa.String(length=255), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=True),
        sa.Column("d_sae", sa.BigInteger(), nullable=False),
        sa.Column("tokens_total", sa.BigInteger(), nullable=False),
        sa.Column("n_tokens", sa.BigInteger(), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=True),
        sa.Column("dead", sa.BigInteger(), nullable=True),
        sa.Column("dense", sa.BigInteger(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=160), nullable=True),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint(
            "(training_id IS NULL) <> (external_sae_id IS NULL)", name=op.f("ck_extraction_jobs_one_origin")
        ),
        sa.CheckConstraint("d_sae > 0 AND tokens_total > 0", name=op.f("ck_extraction_jobs_sizes")),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name="fk_extraction_jobs_training_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["external_sae_id"], ["external_saes.id"], name="fk_extraction_jobs_external_sae_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_extraction_jobs_job_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_extraction_jobs"),
    )
    op.create_index("ix_extraction_jobs_created_at", "extraction_jobs", ["created_at"])
    op.create_index("ix_extraction_jobs_job_id", "extraction_jobs", ["job_id"])
    op.create_index(
        "ix_extraction_jobs_external_sae_id_created_at", "extraction_jobs", ["external_sae_id", "created_at"]
    )
    op.create_index("ix_extraction_jobs_training_id_created_at", "extraction_jobs", ["training_id", "created_at"])
    op.create_table(
        "features",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("training_id", sa.String(length=160), nullable=True),
        sa.Column("external_sae_id", sa.String(length=160), nullable=True),
        sa.Column("neuron_index", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("label_source", sa.String(length=16), nullable=True),
        sa.Column("label_by", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("starred", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("updated_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("(training_id IS NULL) <> (external_sae_id IS NULL)", name=op.f("ck_features_one_origin")),
        sa.CheckConstraint("neuron_index >= 0", name=op.f("ck_features_neuron_index")),
        sa.CheckConstraint(
            "label_source IS NULL OR label_source IN ('user', 'auto', 'imported')",
            name=op.f("ck_features_label_source"),
        ),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name="fk_features_training_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["external_sae_id"], ["external_saes.id"], name="fk_features_external_sae_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_features"),
    )
    op.create_index("uq_features_training_id_neuron_index", "features", ["training_id", "neuron_index"], unique=True)
    op.create_index(
        "uq_features_external_sae_id_neuron_index", "features", ["external_sae_id", "neuron_index"], unique=True
    )
    op.create_index("ix_features_training_id_updated_at", "features", ["training_id", "updated_at"])
    op.create_index("ix_features_external_sae_id_updated_at", "features", ["external_sae_id", "updated_at"])
    op.create_table(
        "feature_labels",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("feature_id", sa.String(length=160), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("standing", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_hash", sa.String(length=128), nullable=False),
        sa.Column("scores", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=True),
        sa.Column("n_judged", sa.BigInteger(), nullable=True),
        sa.Column("n_asked", sa.BigInteger(), nullable=True),
        sa.Column("said_by", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("source IN ('user', 'auto', 'imported')", name=op.f("ck_feature_labels_source")),
        sa.ForeignKeyConstraint(
            ["feature_id"], ["features.id"], name="fk_feature_labels_feature_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_feature_labels"),
    )
    op.create_index(
        "uq_feature_labels_feature_id_identity", "feature_labels", ["feature_id", "identity"], unique=True
    )
    op.create_table(
        "feature_activations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("feature_id", sa.String(length=160), nullable=False),
        sa.Column("label_id", sa.String(length=160), nullable=False),
        sa.Column("extraction_job_id", sa.String(length=160), nullable=True),
        sa.Column("tokens", sa.Text(), nullable=False),
        sa.Column("activations", sa.Text(), nullable=False),
        sa.Column("peak", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("peak >= 0", name=op.f("ck_feature_activations_peak")),
        sa.ForeignKeyConstraint(
            ["feature_id"], ["features.id"], name="fk_feature_activations_feature_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["label_id"], ["feature_labels.id"], name="fk_feature_activations_label_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["extraction_job_id"], ["extraction_jobs.id"], name="fk_feature_activations_extraction_job_id",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_feature_activations"),
    )
    op.create_index("ix_feature_activations_feature_id", "feature_activations", ["feature_id"])
    op.create_index("ix_feature_activations_label_id", "feature_activations", ["label_id"])
    op.create_index("ix_feature_activations_extraction_job_id", "feature_activations", ["extraction_job_id"])
