"""The first schema: models, datasets, jobs with leases and logs, trainings with metrics and checkpoints, SAEs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("used_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_datasets"),
    )
    op.create_index("ix_datasets_used_at", "datasets", ["used_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("lane", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("heartbeat_at", sa.Float(precision=53), nullable=True),
        sa.Column("command", sa.String(length=16), nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("seconds_running", sa.Float(precision=53), nullable=False),
        sa.Column("running_since", sa.Float(precision=53), nullable=True),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("queue_number", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("finished_at", sa.Float(precision=53), nullable=True),
        sa.Column("updated_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint(
            "command IS NULL OR command IN ('pause', 'resume', 'stop', 'cancel')", name=op.f("ck_jobs_command")
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'starting', 'running', 'pausing', 'paused', 'stopping', 'completed', 'failed', "
            "'stopped', 'cancelled', 'interrupted')",
            name=op.f("ck_jobs_status"),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_status_lane_queue_number", "jobs", ["status", "lane", "queue_number"])
    op.create_index("ix_jobs_updated_at", "jobs", ["updated_at"])
    op.create_table(
        "models",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("used_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )
    op.create_index("ix_models_used_at", "models", ["used_at"])
    op.create_table(
        "job_logs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=160), nullable=False),
        sa.Column("time", sa.Float(precision=53), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint("level IN ('info', 'warning', 'error')", name=op.f("ck_job_logs_level")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_logs_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_job_logs"),
    )
    op.create_index("ix_job_logs_job_id", "job_logs", ["job_id"])
    op.create_table(
        "leases",
        sa.Column("lane", sa.String(length=255), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.String(length=160), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("acquired_at", sa.Float(precision=53), nullable=False),
        sa.Column("heartbeat_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("slot >= 0", name=op.f("ck_leases_slot")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_leases_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lane", "slot", name="pk_leases"),
        sa.UniqueConstraint("job_id", name="uq_leases_job_id"),
    )
    op.create_table(
        "trainings",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("corpus", sa.Text(), nullable=False),
        sa.Column("hook_name", sa.String(length=255), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("d_sae", sa.BigInteger(), nullable=False),
        sa.Column("d_in", sa.BigInteger(), nullable=True),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.String(length=255), nullable=False),
        sa.Column("tokens_total", sa.BigInteger(), nullable=False),
        sa.Column("tokens_done", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("sae_path", sa.Text(), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=160), nullable=True),
        sa.Column("retry_of", sa.String(length=160), nullable=True),
        sa.Column("group_id", sa.String(length=160), nullable=True),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("d_sae > 0", name=op.f("ck_trainings_d_sae")),
        sa.CheckConstraint("tokens_done >= 0 AND step >= 0", name=op.f("ck_trainings_progress")),
        sa.CheckConstraint("tokens_total > 0", name=op.f("ck_trainings_tokens_total")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_trainings_job_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["retry_of"], ["trainings.id"], name="fk_trainings_retry_of", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_trainings"),
    )
    op.create_index("ix_trainings_created_at", "trainings", ["created_at"])
    op.create_index("ix_trainings_group_id", "trainings", ["group_id"])
    op.create_index("ix_trainings_job_id", "trainings", ["job_id"])
    op.create_index("ix_trainings_model", "trainings", ["model"])
    op.create_index("ix_trainings_retry_of", "trainings", ["retry_of"])
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("training_id", sa.String(length=160), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("step >= 0 AND tokens >= 0 AND size_bytes >= 0", name=op.f("ck_checkpoints_sizes")),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name="fk_checkpoints_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
    )
    op.create_index("ix_checkpoints_training_id_step", "checkpoints", ["training_id", "step"])
    op.create_index("uq_checkpoints_training_id_path", "checkpoints", ["training_id", "path"], unique=True)
    op.create_table(
        "external_saes",
        sa.Column("id", sa.String(length=160), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=True),
        sa.Column("hook_name", sa.String(length=255), nullable=True),
        sa.Column("layer", sa.Integer(), nullable=True),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("d_in", sa.BigInteger(), nullable=False),
        sa.Column("d_sae", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("training_id", sa.String(length=160), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint(
            "source IN ('trained', 'huggingface', 'gemma_scope', 'local')", name=op.f("ck_external_saes_source")
        ),
        sa.CheckConstraint("training_id IS NULL OR source = 'trained'", name=op.f("ck_external_saes_training")),
        sa.CheckConstraint("d_in > 0 AND d_sae > 0 AND size_bytes >= 0", name=op.f("ck_external_saes_sizes")),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name="fk_external_saes_training_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_external_saes"),
        sa.UniqueConstraint("training_id", name="uq_external_saes_training_id"),
    )
    op.create_index("ix_external_saes_created_at", "external_saes", ["created_at"])
    op.create_index("ix_external_saes_model", "external_saes", ["model"])
    op.create_table(
        "training_metrics",
        sa.Column("training_id", sa.String(length=160), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Float(precision=53), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name="fk_training_metrics_training_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("training_id", "name", "step", name="pk_training_metrics"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_training_metrics_training_id_time", "training_metrics", ["training_id", "time"])
