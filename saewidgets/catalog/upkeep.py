"""Defines `CatalogUpkeep`, which checks, copies, migrates and tidies up a catalog that need not be open."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Engine

from saewidgets.catalog.database import BUSY_SECONDS, catalog_url, database_name, open_engine, sqlite_path, translated
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.schema import back_up, check_remote, current_version, prepare_file, upgrade
from saewidgets.errors import CatalogError
from saewidgets.settings import environment


class CatalogUpkeep:
    """Of the catalog at `url`, else of the one in a workspace folder. Every method raises `CatalogError`."""

    def __init__(self, folder: str | Path, url: str | None = None) -> None:
        self.folder = Files(Path(folder)).folder
        self._url = catalog_url(self.folder, url)
        self.path = sqlite_path(self._url)
        self.name = database_name(self._url)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Engine, str | None]]:
        """The engine, and the schema version that it finds; None where there is no catalog yet."""
        engine = open_engine(self._url)
        try:
            with translated(self.name):
                exists = self.path is None or self.path.exists()
                yield engine, current_version(engine, self.name) if exists else None
        except sqlite3.Error as error:
            hint = "Close other programs that use it and look at the free space; `saewidgets catalog check` reads all."
            raise CatalogError(f"The catalog gave an error: {error}", where=self.name, hint=hint) from error
        finally:
            engine.dispose()

    @contextmanager
    def _existing(self) -> Iterator[tuple[Engine, str]]:
        with self._opened() as (engine, version):
            if version is None:
                hint = "Name the workspace with --home, or a shared catalog with --url."
                raise CatalogError("There is no catalog here.", where=self.name, hint=hint)
            yield engine, version

    def upgrade(self) -> tuple[str | None, str | None]:
        """Migrate it to this version; the only way a shared catalog is ever migrated. Returns the schema version before
        and after."""
        with self._opened() as (engine, before):
            if self.path is not None:
                prepare_file(engine, self.path)
            else:
                upgrade(engine)
            return before, current_version(engine, self.name)

    def check(self) -> str:
        """The schema version of a catalog that can be used; of a file, every page is read."""
        with self._existing() as (engine, version):
            if self.path is None:
                check_remote(engine, self.name)
            else:
                with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
                    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                    loose = connection.execute("PRAGMA foreign_key_check").fetchone()
                if answer != "ok" or loose:
                    what = f"A row of {loose[0]} refers to one that does not exist." if answer == "ok" else answer
                    hint = "Restore a copy from the folder backups."
                    raise CatalogError(f"The catalog is damaged: {what}", where=self.name, hint=hint)
            return version

    def backup(self) -> Path:
        """Copy it into ``backups`` of the workspace, also while others write. A PostgreSQL database is copied by
        pg_dump, in its custom format, which pg_restore reads. Returns the copy."""
        with self._existing() as (_, version):
            return back_up(self.path, version) if self.path is not None else self._dump(version)

    def _dump(self, version: str) -> Path:
        if not (program := shutil.which("pg_dump")):
            hint = "Install PostgreSQL's client programs, or copy the database on its server."
            raise CatalogError("pg_dump is not installed here.", where=self.name, hint=hint)
        folder = self.folder / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"catalog-{version}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.dump"
        partial = target.with_suffix(".partial")
        plain = self._url.set(drivername="postgresql", password=None).render_as_string()
        password = {"PGPASSWORD": str(self._url.password)} if self._url.password else {}  # others see arguments
        command = [program, "--format=custom", f"--file={partial}", f"--dbname={plain}"]
        done = subprocess.run(command, env=environment(password), capture_output=True, text=True, check=False)
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise CatalogError(f"The catalog could not be copied: {done.stderr.strip()}", where=str(target))
        os.replace(partial, target)
        return target

    def vacuum(self) -> tuple[int, int]:
        """Give the space of deleted rows back to the disk. Returns the bytes of the catalog before and after."""
        with self._existing() as (engine, _):
            if self.path is not None:
                before = self.path.stat().st_size
                with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as file:
                    file.execute("VACUUM")
                    file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return before, self.path.stat().st_size
            size = "SELECT pg_database_size(current_database())"
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                before = connection.exec_driver_sql(size).scalar_one()
                connection.exec_driver_sql("VACUUM (FULL, ANALYZE)")
                return before, connection.exec_driver_sql(size).scalar_one()
