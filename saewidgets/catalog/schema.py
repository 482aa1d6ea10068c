"""The schema's version: checked on open, migrated under a lock after a backup, refused if newer than the package.

alembic is imported only when there is something to migrate.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, event, func, inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from saewidgets.catalog.database import catalog_error, damaged, file_lock, translated
from saewidgets.catalog.tables import Base
from saewidgets.errors import CatalogError, StorageError

HEAD = "0008"  # the schema this version of the package works with: the newest file in `migrations/versions`
MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_SECONDS = 120.0
KEPT_BACKUPS = 5
# Folders of a workspace that nothing is in before its catalog has rows.
HOLDERS = ("trainings", "saes", "extractions", "activations", "backups")

_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32)))


def prepare_file(engine: Engine, path: Path) -> None:
    """Bring a SQLite catalog to `HEAD`: create it, or migrate it after a backup. Nothing happens if it is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and current_version(engine, str(path)) == HEAD:
            return
        # Not ``catalog.sqlite.lock``: that name is SQLite's own where it locks by files.
        with file_lock(path.with_suffix(".lock"), LOCK_SECONDS):
            version = current_version(engine, str(path)) if path.exists() else None
            if version == HEAD:  # another process did it meanwhile
                return
            if version is None and path.exists() and any(any(path.parent.glob(f"{name}/*")) for name in HOLDERS):
                raise damaged(str(path), "The catalog is empty, although the folder holds files it should list.")
            if version is not None and _has_rows(engine):
                back_up(path, version)
            upgrade(engine)
    except OSError as error:
        raise StorageError(
            f"The workspace cannot be written: {error}", where=str(path.parent),
            hint="Choose another folder, or check its permissions and the free space.",
        ) from error


def check_remote(engine: Engine, name: str) -> None:
    """Raises `CatalogError` unless a shared database is at `HEAD`: it is migrated on demand only."""
    version = current_version(engine, name)
    if version != HEAD:
        found = "has no tables yet" if version is None else f"is at schema version {version}, this package needs {HEAD}"
        hint = f"Run `saewidgets catalog upgrade --url {name}` once, after a backup."
        raise CatalogError(f"The shared catalog {found}.", where=name, hint=hint)


def current_version(engine: Engine, name: str) -> str | None:
    """The schema version of the database; None if it is blank. Raises `CatalogError` if it cannot be used."""
    with translated(name), engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        if not tables:
            return None
        if _VERSION.name not in tables:
            raise CatalogError(
                "This database is not a catalog of saewidgets.", where=name, hint="Choose another folder or file."
            )
        versions = list(connection.scalars(select(_VERSION.c.version_num)))
    if not versions:
        if set(tables) == {_VERSION.name}:
            return None
        raise damaged(name, "The catalog is damaged: it does not say which version its schema has.")
    version = str(versions[0])
    if version not in known_versions():
        raise CatalogError(
            f"The catalog has schema version {version}; this version of saewidgets knows versions up to {HEAD}.",
            where=name,
            hint="Update saewidgets (pip install -U saewidgets), or open another folder. Nothing was changed.",
        )
    missing = sorted(Base.metadata.tables.keys() - set(tables)) if version == HEAD else []
    if missing:
        raise damaged(name, f"The catalog is damaged: the table {missing[0]} is missing.")
    return version


def known_versions() -> list[str]:
    """Schema versions this package can read, oldest first, by the names of the migration files."""
    return sorted(p.name.split("_")[0] for p in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def upgrade(engine: Engine) -> None:
    """Run the migrations, in one transaction where the database can (SQLite and PostgreSQL do)."""
    from alembic import command  # 0.2 s, and only needed here
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _migrating(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
            if connection.dialect.name == "sqlite" and (
                broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            ):
                raise CatalogError(
                    f"{len(broken)} rows of the catalog refer to rows that do not exist.", where=str(broken[0][0]),
                    hint="The migration was undone. Restore a copy from the folder backups, or report this.",
                )
        except DatabaseError as error:
            raise catalog_error(error, str(engine.url)) from error


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction for migrations. On SQLite with foreign keys off: rebuilding a table would cascade otherwise."""
    if engine.dialect.name != "sqlite":
        with engine.execution_options(writing="alone").begin() as connection:
            yield connection
        return
    other = create_engine(engine.url, poolclass=NullPool, connect_args={"timeout": 30})
    event.listen(other, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(other, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with other.begin() as connection:
            yield connection
    finally:
        other.dispose()


def _has_rows(engine: Engine) -> bool:
    with engine.connect() as connection:
        present = set(inspect(connection).get_table_names())
        return any(
            connection.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
            if table.name in present
        )


def back_up(path: Path, version: str) -> Path:
    """Copy a SQLite catalog into the folder ``backups`` beside it, whole or not at all; keeps the newest few. SQLite's
    backup API sees one consistent state, also while others write."""
    folder = path.parent / "backups"
    folder.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = folder / f"{path.stem}-{version}-{stamp}.sqlite"
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except sqlite3.Error as error:
        partial.unlink(missing_ok=True)
        raise CatalogError(
            f"The catalog could not be copied: {error}", where=str(target),
            hint="Free some space and try again; nothing was changed.",
        ) from error
    for old in sorted(folder.glob(f"{path.stem}-*.sqlite"), key=lambda p: p.stat().st_mtime)[:-KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return target
