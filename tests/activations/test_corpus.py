"""Corpora: what is read, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.activations import documents as module
from saewidgets.activations import open_corpus
from saewidgets.config import TextCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError


def _texts(config: TextCorpus) -> list[str]:
    return [d.text for d in open_corpus(config).documents()]


def test_files_folders_and_strings_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name, text in {
        "b.txt": "B",
        "a.md": "A",
        "deep/c.TXT": "C",
        ".git/d.txt": "no",
        ".hidden.txt": "no",
        "e.csv": "no",
        "empty.txt": "",
    }.items():
        (folder / name).write_text(text)
    one = tmp_path / "one.csv"
    one.write_text("a file named outright is read whatever its name")
    assert _texts(TextCorpus(files=(one, folder), strings=("last",))) == [
        "a file named outright is read whatever its name",
        "A",
        "B",
        "C",
        "last",
    ]


def test_line_ends_and_byte_order_mark_are_normalised(tmp_path: Path) -> None:
    file = tmp_path / "dos.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert _texts(TextCorpus(file)) == ["one\ntwo\nthree\n"]


def test_a_long_file_comes_in_pieces_cut_where_a_line_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_CHARACTERS", 80)
    text = "".join(f"line number {n}\n{'  in' if n % 3 == 0 else ''}" for n in range(40)) + "x" * 130
    file = tmp_path / "long.txt"
    file.write_text(text)
    for config in (TextCorpus(file), TextCorpus(strings=(text,))):
        pieces = list(open_corpus(config).documents())
        assert "".join(piece.text for piece in pieces) == text
        assert [piece.continues for piece in pieces] == [False] + [True] * (len(pieces) - 1)
        assert all(len(piece.text) <= 80 for piece in pieces)
        inner = [piece.text for piece in pieces if "x" not in piece.text]
        assert len(inner) > 5
        assert all(piece.endswith("\n") for piece in inner)


def test_fingerprints_follow_the_text_and_not_the_place(tmp_path: Path) -> None:
    here, there, other = tmp_path / "here.txt", tmp_path / "there.txt", tmp_path / "other.txt"
    here.write_text("some text")
    there.write_text("some text")
    other.write_text("some texT")
    prints = [open_corpus(TextCorpus(path)).fingerprint() for path in (here, there, other)]
    assert prints[0] == prints[1] != prints[2]
    two = open_corpus(TextCorpus(strings=("some", " text"))).fingerprint()
    assert two != open_corpus(TextCorpus(strings=("some text",))).fingerprint()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file or folder") as caught:
        open_corpus(TextCorpus(tmp_path / "none.txt"))
    assert caught.value.where == str(tmp_path / "none.txt")


@pytest.mark.parametrize("target", ["file", "folder"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    link = folder / "link.txt"
    link.symlink_to(outside / "secret.txt" if target == "file" else outside)
    with pytest.raises(StorageError, match="leads out of the folder") as caught:
        open_corpus(TextCorpus(folder))
    assert caught.value.where == str(link)


@pytest.mark.parametrize("before", [0, 5, 100_000, 1 << 20])
def test_undecodable_bytes_are_named_with_their_place(tmp_path: Path, before: int) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(("é" * (before // 2) + "a" * (before % 2)).encode() + b"\xff tail")
    with pytest.raises(FormatError, match=rf"Byte 0xff at position {before:,} is not utf-8") as caught:
        _texts(TextCorpus(file))
    assert caught.value.where == str(file)
    assert "latin-1" in (caught.value.hint or "")
    assert _texts(TextCorpus(file, encoding="latin-1"))[-1].endswith("ÿ tail")


def test_half_characters_are_refused_before_they_reach_a_database() -> None:
    with pytest.raises(ConfigError, match=r"String 2 holds half a character .* position 1"):
        TextCorpus(strings=("fine", "a\ud800b"))
