"""Run by alembic: applies migrations on the connection that `schema.upgrade` opened."""

from alembic import context

from saewidgets.catalog.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
