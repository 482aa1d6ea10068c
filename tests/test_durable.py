from __future__ import annotations

import errno
from pathlib import Path

import pytest

from saewidgets import durable


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    durable.sync(tmp_path / "file")
    durable.sync(tmp_path)


def test_file_systems_without_synced_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", refuse)
    durable.sync(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.sync(tmp_path)
