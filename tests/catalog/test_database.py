import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from saewidgets.catalog import Catalog, database
from saewidgets.catalog.database import catalog_error, filesystem_type, is_remote
from saewidgets.catalog.rows import ulid
from saewidgets.catalog.tables import ModelRow, database_now
from saewidgets.errors import CatalogError
from tests.catalog.conftest import Make


def _pragma(catalog: Catalog, name: str) -> object:
    with catalog._database.engine.connect() as connection:
        return connection.scalar(text(f"PRAGMA {name}"))


def test_every_connection_is_set_up(catalog: Catalog) -> None:
    assert catalog.notice is None
    assert _pragma(catalog, "journal_mode") == "wal"
    assert _pragma(catalog, "foreign_keys") == 1
    assert _pragma(catalog, "busy_timeout") == 5000
    assert _pragma(catalog, "synchronous") == 1  # NORMAL


def test_without_shared_memory_it_falls_back_and_says_so(folder: Path) -> None:
    """SQLite's own dot-file locking has no shared memory: WAL really cannot work there."""
    folder.mkdir()
    url = f"sqlite:///file:{folder}/catalog.sqlite?vfs=unix-dotfile&uri=true"
    with Catalog(folder, url) as catalog:
        assert _pragma(catalog, "journal_mode") == "delete"
        assert _pragma(catalog, "synchronous") == 2  # FULL: without WAL, NORMAL may lose the file in a power cut
        assert "without shared memory" in (catalog.notice or "")
        catalog.models.upsert("gpt2")
        assert catalog.models.names() == ["gpt2"]


def test_a_catalog_moved_to_a_network_drive_leaves_wal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog(folder) as catalog:
        catalog.models.upsert("gpt2")
    monkeypatch.setattr(database, "is_remote", lambda path: True)
    with Catalog(folder) as catalog:
        assert _pragma(catalog, "journal_mode") == "delete"
        assert str(folder) in (catalog.notice or "")
        assert catalog.models.names() == ["gpt2"]


def test_file_systems_by_mount_point(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    home = Path("/nowhere/home")
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/home /nowhere/home nfs4 rw 0 0\n/dev/sdb /nowhere/home/a\\040b ext4 rw 0 0\n"
    )
    assert filesystem_type(home / "me", mounts) == "nfs4"
    assert filesystem_type(home / "a b" / "x", mounts) == "ext4"
    assert filesystem_type(Path("/nowhere/homes"), mounts) == "ext4"
    assert filesystem_type(home, tmp_path / "absent") is None


def test_which_are_remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for remote, kinds in (
        (True, ("nfs4", "cifs", "fuse.sshfs", "fuse")), (False, ("fuseblk", "ext4", None)),
    ):  # fmt: skip
        for kind in kinds:
            monkeypatch.setattr(database, "filesystem_type", lambda folder, kind=kind: kind)
            assert is_remote(tmp_path) is remote, kind


def test_on_a_full_disk_it_opens_and_rows_can_be_deleted(
    folder: Path, make_training: Make, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_training()
    catalog.close()
    (folder / "catalog.sqlite-shm").mkdir()  # as on a full disk, WAL does not get its shared memory
    monkeypatch.setattr(database.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with Catalog(folder) as opened:
        assert "The disk with the workspace is full" in (opened.notice or "")
        assert _pragma(opened, "journal_mode") == "memory"  # a deletion writes nothing beside the file
        opened.trainings.delete(run.id)
        assert list(opened.trainings.list()) == []


def test_an_error_of_a_full_disk_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = OperationalError("", {}, sqlite3.OperationalError("disk I/O error"))
    assert "full" not in catalog_error(error, str(tmp_path / "catalog.sqlite")).what
    monkeypatch.setattr(database.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert catalog_error(error, str(tmp_path / "catalog.sqlite")).what == "The disk with the catalog is full."


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Catalog]:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with Catalog(folder) as catalog:
        yield catalog


@pytest.fixture
def release(impatient: Catalog) -> Iterator[threading.Event]:
    """Another process holds the lock for writing until this is set."""
    asked, held = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(str(impatient.path), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        asked.wait(20)
        connection.execute("ROLLBACK")
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(10)
    yield asked
    asked.set()
    other.join()


def test_a_busy_database_is_tried_again(impatient: Catalog, release: threading.Event) -> None:
    threading.Timer(0.3, release.set).start()
    impatient.models.upsert("gpt2")
    assert release.is_set()
    assert impatient.models.names() == ["gpt2"]


def test_but_not_for_ever(impatient: Catalog, release: threading.Event) -> None:
    with pytest.raises(CatalogError, match="busy"):
        impatient._database.write(lambda session: session.add(_row("x")), patience=0.2)
    assert impatient.models.names() == []  # reading does not wait
    assert not release.is_set()


def _row(name: str) -> ModelRow:
    return ModelRow(name=name, facts={}, uses=1, created_at=0.0, used_at=0.0)


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
    assert "z" not in catalog.models.names(), "what fails leaves nothing"


def test_a_write_leaves_signals_alone_that_are_not_pythons(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: None)  # as where a host program has set its own
    changed: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda *given: changed.append(given))
    catalog.models.upsert("x")
    assert changed == []


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("database or disk is full", "disk"),
        ("attempt to write a readonly database", "cannot be written"),
        ("database disk image is malformed", "damaged"),
        ("no such column: x", "no such column"),
    ],
)
def test_database_errors_have_plain_messages(message: str, says: str) -> None:
    error = catalog_error(OperationalError("", {}, sqlite3.OperationalError(message)), "catalog.sqlite")
    assert says in error.what
    assert error.where == "catalog.sqlite"
    assert error.hint


@pytest.mark.parametrize("value", [b"{", b"\xff"])
def test_a_value_that_was_altered_is_damage(catalog: Catalog, value: bytes) -> None:
    catalog.jobs.add("job_1", kind="training", lane="here:cpu", payload={"a": 1}, owner="me")
    connection = sqlite3.connect(str(catalog.path))
    with connection:
        connection.execute("UPDATE jobs SET payload = CAST(? AS TEXT)", (value,))
    connection.close()
    with pytest.raises(CatalogError, match="The catalog is damaged"):
        catalog.jobs.get("job_1")


def test_an_undecodable_schema_counts_as_damage(catalog: Catalog) -> None:
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


def test_database_time_is_unix_time_with_milliseconds(catalog: Catalog) -> None:
    before = time.time()
    now = [catalog.now() for _ in range(20)]
    assert before - 0.01 < now[0] <= now[-1] < time.time() + 0.01
    assert any(not float(t).is_integer() for t in now)


def test_database_time_on_other_databases() -> None:
    query = select(database_now())
    assert "clock_timestamp()" in str(query.compile(dialect=postgresql.dialect()))
    assert "UNIX_TIMESTAMP(NOW(6))" in str(query.compile(dialect=mysql.dialect()))


def test_ulids_are_sorted_and_unique_across_threads() -> None:
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda m=m: m.extend(ulid() for _ in range(500))) for m in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({u for m in made for u in m}) == 2000
    assert all(m == sorted(m) for m in made)
    value = 0
    for character in made[0][0][:10]:  # the time
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    assert abs(value / 1000 - time.time()) < 60
