"""The database of a catalog: how SQLite is set up (`open_engine`, `set_journal`), and `Database`, short sessions on one
engine from any thread: reading, and writing with patience."""

import errno
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from json import JSONDecodeError
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from saewidgets.errors import CatalogError, ConfigError

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
_TURN = 0x5AE  # names the lock of writers among the advisory locks of a PostgreSQL database


def catalog_url(folder: Path, url: str | None) -> URL:
    """The database to use: `url`, else the file in the workspace folder."""
    if url is None:
        return URL.create("sqlite", database=str(folder / FILE_NAME))
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise CatalogError(
            f"This does not name a database: {error}", where="catalog_url",  # without the URL: it may hold a password
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


def database_name(url: URL) -> str:
    """What messages call the database: its file, else the URL without the password."""
    path = sqlite_path(url)
    return str(path) if path is not None else url.render_as_string(hide_password=True)


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
            if url.get_backend_name() == "postgresql":
                event.listen(engine, "begin", _take_turn)
    except ImportError as error:
        raise CatalogError(
            f"The driver of this database is not installed: {error}", where="catalog_url",
            hint="Of PostgreSQL: pip install 'saewidgets[postgres]', and a URL with postgresql+psycopg://.",
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
    with closing(engine.raw_connection()) as connection:  # no transaction: within one the mode cannot be changed
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA journal_mode={wanted}")
        answer = cursor.fetchone()  # the mode it really has now
        mode = str(answer[0] if answer else "").lower()
        cursor.close()
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


def _take_turn(connection: Any) -> None:
    # Writers take turns, as those of a SQLite file do. With SERIALIZABLE instead, a hundred clients fail: all of them
    # read and write the few pages of `jobs`, and those that conflict start again and again. One that stalls within its
    # turn, such as a laptop put to sleep, loses it.
    if writing := connection.get_execution_options().get("writing"):
        limits = f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'; SET LOCAL idle_in_transaction_session_timeout = '30s'"
        turn = f"; SELECT pg_advisory_xact_lock({_TURN})" if writing == "alone" else ""
        connection.exec_driver_sql(limits + turn)


@contextmanager
def file_lock(path: Path, timeout: float) -> Iterator[None]:
    """One process at a time: while the catalog is created or migrated, or a folder is not listed yet."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise CatalogError(
            f"Another process has been preparing the catalog for {timeout:.0f} seconds.", where=str(path),
            hint="Wait for it, or end it if it hangs.",
        ) from error
    except OSError as error:  # a file system without locks: SQLite's transaction lets only one process migrate
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, Ctrl-C waits until the end, and SIGTERM where it has a handler. A KeyboardInterrupt between the beginning
    of a transaction and the object that would end it leaves a connection that holds the lock, and a notebook keeps it
    alive with the traceback: all later writes would fail."""
    came: list[tuple[int, FrameType | None]] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # signals come to no other
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):  # else something else handles them, or nothing
                before[number] = handler
                signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
        if came:
            before[came[0][0]](*came[0])


T = TypeVar("T")

PATIENCE = 20.0
"""Seconds for which a write is tried again while others hold the database."""


class Database:
    """One engine. `name` is what messages call it. What goes wrong is a `CatalogError`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        weakref.finalize(self, engine.dispose).atexit = False
        self.name = name
        self._file = sqlite_path(engine.url)
        self._inode: int | None = None  # of the file, once it was written
        # SQLite's busy handler is not fair: threads of this process take turns here instead.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._alone, self._beside = (
            sessionmaker(engine.execution_options(writing=how), expire_on_commit=False) for how in ("alone", "beside")
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        with translated(self.name), Session(self.engine, expire_on_commit=False) as session:
            yield session

    def write(self, fn: Callable[[Session], T], patience: float = PATIENCE, alone: bool = True) -> T:
        """Run `fn` in one transaction; again from the start if the database was busy, for `patience` seconds. No other
        writes meanwhile, unless `alone` is False: then others may, where the database can, and `fn` locks its rows."""
        self._require_file()
        writing = self._alone if alone else self._beside
        deadline = time.monotonic() + patience
        pause = 0.02
        while True:
            try:
                with translated(self.name), undisturbed(), self._turn, writing.begin() as session:
                    return fn(session)
            except CatalogError as error:
                if not _is_busy(error.__cause__) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(0.5, pause * 2)

    def _require_file(self) -> None:
        """Raise `CatalogError` if the file is gone: SQLite would go on to write one that nobody can open again."""
        if self._file is None:
            return
        try:
            inode = os.stat(self._file).st_ino
        except OSError:
            inode = None
        self._inode = self._inode or inode
        if inode is None or inode != self._inode:
            raise CatalogError(
                "The workspace was deleted or moved while it was open: its catalog is gone.", where=self.name,
                hint="Put the folder back, or close this workspace and open another. Nothing is stored until then.",
            )

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Database errors as `CatalogError`, except broken constraints, which say what the caller did wrong."""
    try:
        yield
    except IntegrityError:
        raise
    except DatabaseError as error:
        raise catalog_error(error, name) from error
    except (JSONDecodeError, UnicodeDecodeError) as error:  # what was written can be read
        raise damaged(name) from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{error.object!r} holds half a surrogate pair.", hint="Remove it.") from error


def catalog_error(error: DatabaseError, name: str) -> CatalogError:
    """What to tell the user about a database error."""
    text = str(error.orig).lower()
    if _is_busy(error):
        what, hint = "The catalog is busy: another process has been writing for too long.", "Try again."
    elif "disk is full" in text or ("i/o error" in text and is_full(Path(name).parent)):
        what = "The disk with the catalog is full."
        hint = "Free some space, or reopen the workspace and delete something in it. Runs go on."
    elif "readonly" in text or "read-only" in text:
        what, hint = "The catalog cannot be written.", "Check the permissions of the file and its folder."
    elif any(word in text for word in ("malformed", "not a database", "decode to utf-8")):
        return damaged(name)
    else:
        what, hint = f"The catalog gave an error: {error.orig}", "See the details, then `saewidgets doctor`."
    return CatalogError(what, where=name, hint=hint)


def damaged(name: str, what: str = "The catalog is damaged.") -> CatalogError:
    """The error for a catalog that cannot be used; `name` is its file. The hint names the newest backup."""
    path = Path(name)
    copies = sorted(path.parent.glob(f"backups/{path.stem}-*.sqlite"), key=lambda copy: copy.stat().st_mtime)
    hint = f"Move {path.name} away, with {path.name}-wal and {path.name}-shm if they are there, and "
    hint += f"copy {copies[-1]} to its place." if copies else "put a copy in its place; without one it begins empty."
    return CatalogError(what, where=name, hint=hint if path.is_file() else "Restore a copy of it.")


def _is_busy(error: BaseException | None) -> bool:
    if not isinstance(error, OperationalError):
        return False
    words = ("locked", "busy", "deadlock", "lock timeout", "could not serialize", "locking protocol")
    return any(word in str(error.orig).lower() for word in words)
