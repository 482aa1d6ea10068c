"""The connection to the database and how SQLite is set up."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import weakref
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from saewidgets.errors import CatalogError

_REMOTE = (
    "nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "fuse", "vboxsf", "prl_fs",
    "drvfs", "davfs", "ncpfs", "panfs", "wekafs", "ocfs2", "gfs2", "virtiofs",
)  # fmt: skip

_LITTLE = 1 << 18  # bytes: WAL takes 32 kB for its index, and a page for each that changes


def filesystem_type(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that holds `folder` (Linux), else None."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    target = os.path.realpath(folder)
    best, found = -1, None
    for line in lines:
        parts = line.split()
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ").replace("\\011", "\t")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # the later of two mounts on one point hides the earlier
            best, found = len(point), parts[2]
    return found


def is_remote(folder: Path) -> bool:
    """Whether `folder` is on a file system that other machines may write too (or that cannot be trusted to lock)."""
    if str(folder).startswith("\\\\"):
        return True  # a Windows share
    kind = filesystem_type(folder)
    # Block devices mounted through FUSE (ntfs-3g, exfat) are local.
    return kind is not None and kind.startswith(_REMOTE) and kind != "fuseblk"


def is_full(folder: Path) -> bool:
    """Whether the disk has no space for what SQLite writes beside a database."""
    try:
        return shutil.disk_usage(folder).free < _LITTLE
    except OSError:  # there is no such folder
        return False


BUSY_SECONDS = 5
FILE_NAME = "catalog.sqlite"


def catalog_url(folder: Path, url: str | None) -> URL:
    """The database to use: `url`, else the file in the workspace folder."""
    if url is None:
        return URL.create("sqlite", database=str(folder / FILE_NAME))
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise CatalogError(
            f"{url!r} does not name a database: {error}", where="catalog_url",
            hint="Use a SQLAlchemy URL, such as postgresql+psycopg://user@host/name.",
        ) from error
    if parsed.get_backend_name() == "sqlite" and not parsed.database:
        raise CatalogError(
            "A catalog in memory would not be seen by other threads.", where="catalog_url", hint="Name a file."
        )
    return parsed


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database; None for another kind of database."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database.removeprefix("file:"))


def open_engine(url: URL) -> Engine:
    """An engine whose SQLite connections enforce foreign keys and leave transactions to SQLAlchemy. It is safe for
    threads; after a fork the child opens connections of its own."""
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
            event.listen(engine, "connect", _set_up_connection)
            event.listen(engine, "begin", _begin)
        else:
            engine = create_engine(url, pool_pre_ping=True)
    except ImportError as error:
        raise CatalogError(
            f"The driver of this database is not installed: {error}", where="catalog_url",
            hint="Install it with pip, for example: pip install 'psycopg[binary]'.",
        ) from error
    if sys.platform != "win32":
        ref = weakref.ref(engine)

        def forget() -> None:
            if (forked := ref()) is not None:
                forked.dispose(close=False)

        os.register_at_fork(after_in_child=forget)
    return engine


def leave_wal(path: Path) -> None:
    """Where the disk is full, take the file out of WAL mode, in which it could not be opened without space."""
    if path.exists() and is_full(path.parent):
        # If it fails, others have the file open: what they have written beside it serves here, too.
        with closing(sqlite3.connect(path, timeout=0)) as connection, suppress(sqlite3.Error):
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # without shared memory
            connection.execute("PRAGMA journal_mode=MEMORY")  # the change of mode has a journal, too


def set_journal(engine: Engine, path: Path) -> str | None:
    """Put the file into WAL mode, or into the rollback journal where WAL cannot work: then a sentence says so."""
    if is_full(path.parent):
        return f"The disk with the workspace is full ({path.parent}). Delete something, then open the workspace again."
    wanted = "delete" if is_remote(path.parent) else "wal"
    connection = engine.raw_connection()  # outside a transaction: the mode cannot be changed within one
    try:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA journal_mode={wanted}")
        answer = cursor.fetchone()  # the mode it really has now
        mode = str(answer[0] if answer else "").lower()
        cursor.close()
    finally:
        connection.close()
    if mode == "wal":
        return None
    return (
        f"The catalog is on a file system without shared memory ({path.parent}). It works, but two kernels that write "
        "at once wait for each other longer; a local folder is faster."
    )


def _set_up_connection(connection: sqlite3.Connection, _: Any) -> None:
    # SQLAlchemy's "begin" event opens transactions, so that a write can be immediate: a deferred one may fail
    # half-way, when another process has written in between.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == "delete" and is_full(Path(cursor.execute("PRAGMA database_list").fetchone()[2]).parent):
        cursor.execute("PRAGMA journal_mode=MEMORY")  # rows can be deleted without space for a journal
    # NORMAL is safe against a crash of the process in both modes, and with WAL against a power cut too.
    cursor.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'wal' else 'FULL'}")
    cursor.close()


def _begin(connection: Any) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
