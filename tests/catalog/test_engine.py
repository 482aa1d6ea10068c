from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from saewidgets.catalog import Catalog, engine, filesystems
from saewidgets.catalog.filesystems import filesystem_type, is_remote


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
    monkeypatch.setattr(filesystems, "filesystem_type", lambda folder: kind)
    assert is_remote(tmp_path) is remote
