from __future__ import annotations

import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from saewidgets.catalog import Catalog, database, engine
from saewidgets.catalog.tables import ModelRow
from saewidgets.errors import CatalogError


def _hold_write_lock(catalog: Catalog, release: threading.Event, held: threading.Event) -> None:
    connection = sqlite3.connect(str(catalog.path), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held.set()
    release.wait(20)
    connection.execute("ROLLBACK")
    connection.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Catalog:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    return Catalog(folder)


def test_a_busy_database_is_tried_again(impatient: Catalog) -> None:
    release, held = threading.Event(), threading.Event()
    other = threading.Thread(target=_hold_write_lock, args=(impatient, release, held))
    other.start()
    assert held.wait(10)
    threading.Timer(0.3, release.set).start()
    impatient.models.upsert("gpt2")
    assert release.is_set()
    other.join()
    assert impatient.models.names() == ["gpt2"]
    impatient.close()


def test_but_not_for_ever(impatient: Catalog) -> None:
    release, held = threading.Event(), threading.Event()
    other = threading.Thread(target=_hold_write_lock, args=(impatient, release, held))
    other.start()
    assert held.wait(10)
    with pytest.raises(CatalogError, match="busy"):
        impatient._database.write(lambda session: session.add(_row("x")), patience=0.2)
    assert impatient.models.names() == []  # reading does not wait
    release.set()
    other.join()
    impatient.close()


def _row(name: str) -> ModelRow:
    return ModelRow(name=name, facts={}, uses=1, created_at=0.0, used_at=0.0)


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    def write(session: Session) -> None:
        session.add(_row("x"))
        session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        catalog._database.write(write)
    assert catalog.models.names() == []


def test_ctrl_c_waits_until_a_transaction_has_ended(catalog: Catalog) -> None:
    def write(session: Session) -> None:
        session.add(_row("x"))
        session.flush()
        signal.raise_signal(signal.SIGINT)
        session.add(_row("y"))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it is ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            catalog._database.write(write)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert catalog.models.names() == ["x", "y"]
    with pytest.raises(IntegrityError):
        catalog._database.write(lambda session: session.add_all([_row("z"), _row("x")]))
    catalog.models.upsert("nothing holds the lock")


def test_a_write_leaves_signals_alone_that_are_not_pythons(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: None)  # as where a host program has set its own
    changed: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda *given: changed.append(given))
    catalog.models.upsert("x")
    assert changed == []


def test_many_threads_write_and_read(catalog: Catalog) -> None:
    errors: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(8):
                catalog.models.upsert("shared")
                catalog.models.upsert(f"{n}-{i}")
                catalog.models.names()
        except BaseException as error:  # noqa: BLE001 - reported by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(catalog.models.names()) == 33
    with catalog._database.read() as session:
        shared = session.get(ModelRow, "shared")
        assert shared is not None
        assert shared.uses == 32


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("database or disk is full", "disk"),
        ("attempt to write a readonly database", "cannot be written"),
        ("database disk image is malformed", "damaged"),
        ("no such column: x", "no such column"),
    ],
)
def test_what_is_said_about_errors(message: str, says: str) -> None:
    from sqlalchemy.exc import OperationalError

    error = database.catalog_error(OperationalError("", {}, sqlite3.OperationalError(message)), "catalog.sqlite")
    assert says in error.what
    assert error.where == "catalog.sqlite"
    assert error.hint


@pytest.mark.parametrize("value", [b"{", b"\xff"])
def test_a_value_that_was_altered_is_damage(catalog: Catalog, value: bytes) -> None:
    catalog.models.upsert("gpt2", {"a": 1})
    connection = sqlite3.connect(str(catalog.path))
    with connection:
        connection.execute("UPDATE models SET facts = CAST(? AS TEXT)", (value,))
    connection.close()
    with pytest.raises(CatalogError, match="The catalog is damaged"):
        catalog.models.facts("gpt2")


def test_a_schema_that_is_no_text_is_damage(catalog: Catalog) -> None:
    catalog.close()
    assert catalog.path is not None
    catalog.path.write_bytes(catalog.path.read_bytes().replace(b"CREATE TABLE models (", b"CREATE TABLE models \xff"))
    with pytest.raises(CatalogError, match="The catalog is damaged"):
        Catalog(catalog.files.folder)


def test_a_forked_child_opens_its_own_connections(catalog: Catalog) -> None:
    catalog.models.upsert("before")
    pid = os.fork()
    if pid == 0:
        try:
            catalog.models.upsert("child")
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the exit status is the report
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert set(catalog.models.names()) == {"before", "child"}
