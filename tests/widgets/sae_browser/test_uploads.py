"""What the page sends piece by piece arrives whole, or not at all; nothing it says is trusted."""

import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError, StorageError
from saewidgets.widgets.messages.saes import UploadFile
from saewidgets.widgets.sae_browser import uploads as module
from saewidgets.widgets.sae_browser.uploads import FOLDER, MAX_FILES, STALE_AFTER, Uploads


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    return Uploads(tmp_path)


def files(**sizes: int) -> list[UploadFile]:
    return [UploadFile(name=name, size=size) for name, size in sizes.items()]


@pytest.mark.parametrize(
    ("announced", "words"),
    [
        *(
            ({name: 1}, "cannot be the name of a file")
            for name in (
                "", "/etc/passwd", "../cfg.json", "a/../../b", "a\\b", "C:/x", "a//b", ".", "a/.", "a\0b", "a\nb",
                "x" * 501,
            )
        ),
        ({"a": 600_000, "b": 600_000}, "at most"),
        ({str(i): 1 for i in range(MAX_FILES + 1)}, "too many"),
        ({"CFG.json": 1, "cfg.json": 1}, "same name"),
        ({}, "No file"),
    ],
)
def test_names_and_sizes_that_cannot_be_are_refused(uploads: Uploads, announced: dict[str, int], words: str) -> None:
    with pytest.raises((ConfigError, FormatError), match=words):
        uploads.begin(files(**announced))


def test_pieces_come_in_order_and_not_beyond_the_announced_size(uploads: Uploads) -> None:
    upload_id = uploads.begin(files(a=4))
    for file, offset, data, words in (
        (0, 2, b"xx", "starts at 2; 0 bytes have arrived"), (0, 0, b"12345", "longer than the 4 bytes"),
        (7, 0, b"1", "no file 7"), (-1, 0, b"1", "no file -1"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            uploads.write(upload_id, file, offset, memoryview(data))
    uploads.write(upload_id, 0, 0, memoryview(b"123"))
    with pytest.raises(StateError, match="3 of 4 bytes arrived"):
        uploads.finish(upload_id)


def test_nothing_can_be_written_after_the_end(uploads: Uploads) -> None:
    upload_id = uploads.begin(files(a=0, b=0))
    uploads.finish(upload_id)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="over"):
            uploads.write(upload_id, 0, 0, memoryview(b""))
        with pytest.raises(NotFoundError, match="over"):
            uploads.finish(upload_id)
        uploads.discard(upload_id)


def test_rejects_an_upload_to_a_full_disk_before_it_starts(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 200_500_000))
    with pytest.raises(StorageError, match="Not enough disk space"):
        uploads.begin(files(a=900_000))
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_piece_that_could_not_be_written_may_come_again(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = uploads.begin(files(a=4))

    def full(self: Path, *args: object, **kwargs: object) -> object:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(StorageError, match="No space left"):
            uploads.write(upload_id, 0, 0, memoryview(b"1234"))
    assert uploads.write(upload_id, 0, 0, memoryview(b"1234")) == 4
    assert uploads.finish(upload_id)["a"].read_bytes() == b"1234"


def test_what_a_dead_kernel_left_is_swept_away(uploads: Uploads, tmp_path: Path) -> None:
    old, fresh = tmp_path / FOLDER / "old", tmp_path / FOLDER / "fresh"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "0").write_bytes(b"x")
    long_ago = time.time() - STALE_AFTER - 100
    for path in (old / "0", old):
        os.utime(path, (long_ago, long_ago))
    mine = uploads.begin(files(a=1))
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"fresh", mine}
    uploads.close()
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {"fresh"}
