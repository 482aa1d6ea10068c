from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from saewidgets.catalog import Catalog, engine
from saewidgets.catalog.database import catalog_error
from saewidgets.catalog.engine import filesystem_type, is_remote
from saewidgets.records import TrainingRecord


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


def test_a_network_drive_is_not_given_wal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "is_remote", lambda path: True)
    with Catalog(folder) as catalog:
        assert _pragma(catalog, "journal_mode") == "delete"
        assert str(folder) in (catalog.notice or "")


def test_a_catalog_moved_to_a_network_drive_leaves_wal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog(folder) as catalog:
        catalog.models.upsert("gpt2")
    monkeypatch.setattr(engine, "is_remote", lambda path: True)
    with Catalog(folder) as catalog:
        assert _pragma(catalog, "journal_mode") == "delete"
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


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("fuse", True),
        ("fuseblk", False),
        ("ext4", False),
        (None, False),
    ],
)
def test_which_are_remote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str | None, remote: bool) -> None:
    monkeypatch.setattr(engine, "filesystem_type", lambda folder: kind)
    assert is_remote(tmp_path) is remote


def test_on_a_full_disk_it_opens_and_rows_can_be_deleted(
    folder: Path, make_training: Callable[..., TrainingRecord], catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_training()
    catalog.close()
    (folder / "catalog.sqlite-shm").mkdir()  # as on a full disk, WAL does not get its shared memory
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with Catalog(folder) as opened:
        assert "The disk with the workspace is full" in (opened.notice or "")
        assert _pragma(opened, "journal_mode") == "memory"  # a deletion writes nothing beside the file
        opened.trainings.delete(run.id)
        assert list(opened.trainings.list()) == []


def test_an_error_of_a_full_disk_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = OperationalError("", {}, sqlite3.OperationalError("disk I/O error"))
    assert "full" not in catalog_error(error, str(tmp_path / "catalog.sqlite")).what
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert catalog_error(error, str(tmp_path / "catalog.sqlite")).what == "The disk with the catalog is full."
