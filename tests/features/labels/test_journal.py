"""What was paid for survives a crash; damage is named, never dropped without a word."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from saewidgets.errors import FormatError, StorageError
from saewidgets.features.labels import Journal, Label


def test_labels_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "j.jsonl")
    assert journal.labels() == []
    labels = [Label(i, f"text\n{i} 日", created_at=float(i)) for i in range(5)]
    for label in labels:
        journal.add(label)
    assert Journal(journal.path).labels() == labels


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_a_crash_cut_is_dropped(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    for i in range(3):
        journal.add(Label(i, "x" * 50))
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    assert [x.index for x in journal.labels()] == [0, 1]
    journal.add(Label(7, "y"))
    assert [x.index for x in journal.labels()] == [0, 1, 7]


def test_a_file_that_is_only_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text("x" * 200_000)
    journal = Journal(path)
    assert journal.labels() == []
    journal.add(Label(7, "y"))
    assert [x.index for x in journal.labels()] == [7]


@pytest.mark.parametrize(
    ("line", "named"), [(b"nonsense", "line 2"), (b"[]", "line 2"), (b'{"index": -1, "text": "a"}', "line 2, index")]
)
def test_damage_is_named(tmp_path: Path, line: bytes, named: str) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.add(Label(0, "a"))
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    journal.add(Label(1, "b"))
    with pytest.raises(FormatError, match=named):
        journal.labels()


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    threads = [threading.Thread(target=journal.add, args=(Label(i, "x" * 500),)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(x.index for x in journal.labels()) == list(range(20))


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a file"):
        Journal(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Journal(tmp_path / "file" / "j.jsonl").add(Label(0, "a"))
