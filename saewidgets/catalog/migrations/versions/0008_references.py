"""References of runs and SAEs to models and datasets, and of features to the extraction that was read; an SAE whose
files do not say model or layer has "unknown" and -1 there."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

# SQLite rebuilds a table that gets a reference; whether its CHECKs are seen depends on the version of SQLAlchemy.
CHECKS = {
    "trainings": {
        "d_sae": "d_sae > 0", "tokens_total": "tokens_total > 0", "progress": "tokens_done >= 0 AND step >= 0",
    },
    "external_saes": {
        "source": "source IN ('trained', 'huggingface', 'gemma_scope', 'local')",
        "sizes": "d_in > 0 AND d_sae > 0 AND size_bytes >= 0",
        "training": "training_id IS NULL OR source = 'trained'",
    },
    "features": {
        "one_origin": "(training_id IS NULL) <> (external_sae_id IS NULL)", "neuron_index": "neuron_index >= 0",
        "label_source": "label_source IS NULL OR label_source IN ('user', 'auto', 'imported')",
    },
}  # fmt: skip
REFERENCES = (
    ("trainings", "model_id", "models", "name", 512),
    ("trainings", "dataset_id", "datasets", "name", 512),
    ("external_saes", "model_id", "models", "name", 512),
    ("features", "extraction_job_id", "extraction_jobs", "id", 160),
)


def upgrade() -> None:
    """Add the columns; runs and SAEs refer to models and datasets that were used here."""
    op.execute("UPDATE external_saes SET model = 'unknown' WHERE model IS NULL")
    op.execute("UPDATE external_saes SET layer = -1 WHERE layer IS NULL")
    for table, checks in CHECKS.items():
        there = sa.Table(table, sa.MetaData(), autoload_with=op.get_bind())
        there.constraints -= {each for each in there.constraints if isinstance(each, sa.CheckConstraint)}
        for name, text in checks.items():
            there.append_constraint(sa.CheckConstraint(text, name=op.f(f"ck_{table}_{name}")))
        with op.batch_alter_table(table, copy_from=there) as changed:
            for _, column, other, key, length in (each for each in REFERENCES if each[0] == table):
                changed.add_column(sa.Column(column, sa.String(length=length), nullable=True))
                changed.create_foreign_key(f"fk_{table}_{column}", other, [column], [key], ondelete="SET NULL")
            if table == "external_saes":
                changed.alter_column("model", existing_type=sa.String(length=512), nullable=False)
                changed.alter_column("layer", existing_type=sa.Integer(), nullable=False)
    for table, column, other, key, _ in REFERENCES[:3]:
        own = {"model_id": "model", "dataset_id": "corpus"}[column]
        op.execute(f"UPDATE {table} SET {column} = {own} WHERE {own} IN (SELECT {key} FROM {other})")
    op.execute(
        "UPDATE features SET extraction_job_id = (SELECT MAX(extraction_job_id) FROM feature_activations "
        "WHERE feature_activations.feature_id = features.id)"
    )
    for table, column, *_ in REFERENCES:
        op.create_index(f"ix_{table}_{column}", table, [column])
