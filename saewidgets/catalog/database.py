"""Short sessions on one engine, from any thread: reading, and writing with patience."""

from __future__ import annotations

import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from json import JSONDecodeError
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from saewidgets.catalog.engine import is_full
from saewidgets.errors import CatalogError, ConfigError


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, Ctrl-C waits until the end, and SIGTERM where it has a handler. A KeyboardInterrupt between the beginning
    of a transaction and the object that would end it leaves a connection that holds the lock, and a notebook keeps it
    alive with the traceback: nobody could write any more."""
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
        # SQLite's busy handler is not fair: threads of this process take turns here instead.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        self._writing = engine.execution_options(writing=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with translated(self.name), Session(self.engine, expire_on_commit=False) as session:
            yield session

    def write(self, fn: Callable[[Session], T], patience: float = PATIENCE) -> T:
        """Run `fn` in one transaction; again from the start if the database was busy, for `patience` seconds."""
        deadline = time.monotonic() + patience
        pause = 0.02
        while True:
            try:
                with translated(self.name):
                    return self._write_once(fn)
            except CatalogError as error:
                if not _is_busy(error.__cause__) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(0.5, pause * 2)

    def _write_once(self, fn: Callable[[Session], T]) -> T:
        with undisturbed(), self._turn, Session(self._writing, expire_on_commit=False) as session, session.begin():
            return fn(session)

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
        what, hint = "The disk with the catalog is full.", "Free some space: opened again, it can delete. Runs go on."
    elif "readonly" in text or "read-only" in text:
        what, hint = "The catalog cannot be written.", "Check the permissions of the file and its folder."
    elif any(word in text for word in ("malformed", "not a database", "decode to utf-8")):
        return damaged(name)
    else:
        what, hint = f"The catalog gave an error: {error.orig}", "See the details; `saewidgets doctor` checks the file."
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
    text = str(error.orig).lower()
    return any(word in text for word in ("locked", "busy", "deadlock", "could not serialize", "locking protocol"))
