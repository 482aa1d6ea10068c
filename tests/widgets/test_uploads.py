"""What the page sends piece by piece arrives whole, or not at all; nothing it says is trusted."""

from __future__ import annotations

import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from saewidgets.errors import ConfigError, NotFoundError, StateError, StorageError
from saewidgets.widgets.messages.saes import UploadFile
from saewidgets.widgets.uploads import FOLDER, MAX_FILES, MAX_UPLOADS, STALE_AFTER, Uploads


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path, max_bytes=1_000_000)


def send(uploads: Uploads, upload_id: str, data: bytes, file: int = 0, piece: int = 4) -> int:
    received = 0
    for offset in range(0, len(data), piece):
        received = uploads.write(upload_id, file, offset, memoryview(data[offset : offset + piece]))
    return received


def test_files_arrive_as_they_were(uploads: Uploads, tmp_path: Path) -> None:
    files = {"sae/cfg.json": 10, "sae/empty": 0, "w": 5}
    upload_id = uploads.begin([UploadFile(name=name, size=size) for name, size in files.items()])
    assert send(uploads, upload_id, b"0123456789") == 10
    assert send(uploads, upload_id, b"abcde", file=2) == 15
    files = uploads.finish(upload_id)
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "sae/cfg.json": b"0123456789", "sae/empty": b"", "w": b"abcde",
    }  # fmt: skip
    assert {path.parent.parent for path in files.values()} == {tmp_path / FOLDER}
    uploads.discard(upload_id)
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../cfg.json", "a/../../b", "a\\b", "C:/x", "a//b", ".", "a/.", "a\0b", "a\nb", "x" * 501],
)
def test_names_that_are_no_plain_relative_paths_are_refused(uploads: Uploads, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        uploads.begin([UploadFile(name=name, size=1)])


def test_sizes_and_numbers_are_limited(uploads: Uploads) -> None:
    with pytest.raises(ConfigError, match="at most"):
        uploads.begin([UploadFile(name="a", size=600_000), UploadFile(name="b", size=600_000)])
    with pytest.raises(ConfigError, match="too many"):
        uploads.begin([UploadFile(name=str(i), size=1) for i in range(MAX_FILES + 1)])
    with pytest.raises(ConfigError, match="cannot have -1 bytes"):
        uploads.begin([UploadFile(name="a", size=-1)])
    with pytest.raises(ConfigError, match="same name"):
        uploads.begin([UploadFile(name="CFG.json", size=1), UploadFile(name="cfg.json", size=1)])
    with pytest.raises(ConfigError, match="No file"):
        uploads.begin([])


def test_pieces_come_in_order_and_not_beyond_the_announced_size(uploads: Uploads) -> None:
    upload_id = uploads.begin([UploadFile(name="a", size=4)])
    with pytest.raises(ConfigError, match="starts at 2; 0 bytes have arrived"):
        uploads.write(upload_id, 0, 2, memoryview(b"xx"))
    with pytest.raises(ConfigError, match="longer than the 4 bytes"):
        uploads.write(upload_id, 0, 0, memoryview(b"12345"))
    with pytest.raises(ConfigError, match="no file 7"):
        uploads.write(upload_id, 7, 0, memoryview(b"1"))
    with pytest.raises(ConfigError, match="no file -1"):
        uploads.write(upload_id, -1, 0, memoryview(b"1"))
    uploads.write(upload_id, 0, 0, memoryview(b"123"))
    with pytest.raises(StateError, match="3 of 4 bytes arrived"):
        uploads.finish(upload_id)


def test_nothing_can_be_written_after_the_end(uploads: Uploads) -> None:
    upload_id = uploads.begin([UploadFile(name="a", size=0), UploadFile(name="b", size=0)])
    uploads.finish(upload_id)
    with pytest.raises(NotFoundError, match="over"):
        uploads.write(upload_id, 0, 0, memoryview(b""))
    with pytest.raises(NotFoundError, match="over"):
        uploads.finish(upload_id)
    uploads.discard(upload_id)
    with pytest.raises(NotFoundError, match="over"):
        uploads.write(upload_id, 0, 0, memoryview(b""))
    uploads.discard("no such upload")


def test_a_full_disk_is_said_before_anything_is_sent(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 200_500_000))
    with pytest.raises(StorageError, match="Not enough disk space"):
        uploads.begin([UploadFile(name="a", size=900_000)])
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_piece_that_could_not_be_written_may_come_again(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = uploads.begin([UploadFile(name="a", size=4)])
    real = Path.open

    def full(self: Path, *args: object, **kwargs: object) -> object:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(StorageError, match="No space left"):
            uploads.write(upload_id, 0, 0, memoryview(b"1234"))
    assert Path.open is real
    assert uploads.write(upload_id, 0, 0, memoryview(b"1234")) == 4
    assert uploads.finish(upload_id)["a"].read_bytes() == b"1234"


def test_only_a_few_uploads_at_once(uploads: Uploads) -> None:
    ids = [uploads.begin([UploadFile(name="a", size=1)]) for _ in range(MAX_UPLOADS)]
    with pytest.raises(StateError, match="under way"):
        uploads.begin([UploadFile(name="a", size=1)])
    uploads.discard(ids[0])
    uploads.begin([UploadFile(name="a", size=1)])


def test_what_a_dead_kernel_left_is_swept_away(uploads: Uploads, tmp_path: Path) -> None:
    old, fresh = tmp_path / FOLDER / "old", tmp_path / FOLDER / "fresh"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "0").write_bytes(b"x")
    long_ago = time.time() - STALE_AFTER - 100
    for path in (old / "0", old):
        os.utime(path, (long_ago, long_ago))
    mine = uploads.begin([UploadFile(name="a", size=1)])
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"fresh", mine}
    uploads.close()
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"fresh"}
