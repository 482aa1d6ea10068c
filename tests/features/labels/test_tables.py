"""Tables come back exactly, no cell is a formula, and damage is named, never dropped without a word."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.feature_records import LabelSource
from saewidgets.features.labels import Label, Score, read_labels, write_labels
from saewidgets.features.labels.label_files import guarded, unguarded

SOURCES = get_args(LabelSource)
TEXT = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from("=+-@'\",;\t\r\n")
    ),
    max_size=30,
)
PHRASE = TEXT.filter(lambda text: bool(text.strip()))
NUMBER = st.floats(-1e12, 1e12, allow_nan=False)
COUNT = st.none() | st.integers(0, 100)
LABELS = st.lists(
    st.builds(
        Label, st.integers(0, 99), PHRASE, TEXT, st.sampled_from(SOURCES), TEXT, TEXT, TEXT, NUMBER,
        st.lists(st.builds(Score, PHRASE, st.none() | NUMBER, TEXT, COUNT, COUNT, COUNT, created_at=NUMBER), max_size=2)
        .map(tuple),
        TEXT,
    ),
    max_size=5,
)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@given(labels=LABELS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_label_comes_back(tmp_path: Path, suffix: str, labels: list[Label]) -> None:
    path = write_labels(labels, tmp_path / f"labels{suffix}")
    assert read_labels(path, 100).labels == labels


@given(TEXT)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = guarded(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(cell) == text


def test_formulas_in_a_file(tmp_path: Path) -> None:
    evil = ['=cmd|"/c calc"!A1', "+1", "-1+1", "@SUM(A1)", "\t=1", "'=1", "'king'"]
    path = write_labels([Label(i, text) for i, text in enumerate(evil)], tmp_path / "labels.csv")
    with path.open(newline="", encoding="utf-8") as file:
        cells = [row[1] for row in csv.reader(file)][1:]
    assert cells == [f"'{text}" for text in evil[:6]] + ["'king'"]
    assert [label.text for label in read_labels(path).labels] == evil


def test_a_number_and_a_text_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("\ufeffIndex,Text,Description\r\n3,König,mehr\r\n\r\n4,Schiff,\r\n".encode())
    assert [(x.index, x.text, x.description, x.source) for x in read_labels(path).labels] == [
        (3, "König", "mehr", "imported"), (4, "Schiff", "", "imported")
    ]
    lines = tmp_path / "labels.jsonl.gz"
    lines.write_bytes(gzip.compress(b'{"index": 5, "text": "kings", "more": [1]}\n\n{"index": 6, "text": "ships"}'))
    assert [(x.index, x.text) for x in read_labels(lines).labels] == [(5, "kings"), (6, "ships")]


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("x,a,", "line 3, index"), ("-1,a,", "line 3, index"), ("1.0,a,", "line 3, index"), (",a,", "line 3, index"),
        ("9999999999,a,", "line 3, index"), ("1,,", "line 3, text"), ("1,a,boss", "line 3, source"),
        ("1,a,user,more", "line 3, line"), (f"1,{'a' * 1001},", "line 3, text"), ("1,a\0b,", "line 3, text"),
        (f"1,{'a' * 200_000},", "line 3, line"), ('1,"a"b,', "line 3, line"),
    ],
)
def test_a_wrong_line_names_itself(tmp_path: Path, line: str, where: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f'index,text,source\n0,ok,user\n{line}\n2,"two\nlines",auto\n9,late,auto\n')
    with pytest.raises(FormatError, match=where):
        read_labels(path)
    found = read_labels(path, on_error="skip")
    assert [str(p).startswith(f"labels.csv, {where}:") for p in found.problems] == [True]
    good = [0] if where.endswith("line 3, line") and "more" not in line else [0, 2, 9]
    assert [x.index for x in found.labels] == good


@pytest.mark.parametrize(
    ("line", "field"),
    [("nonsense", "line"), ("[1]", "line"), ("[" * 100_000, "line"),
     ('{"index": 1}', "text"), ('{"text": "a"}', "index"), ('{"index": "1", "text": "a"}', "index"),
     ('{"index": 1, "text": "\\ud800"}', "text"),
     ('{"index": 1, "text": "a", "created_at": NaN}', "created_at"),
     ('{"index": 1, "text": "a", "scores": [{"value": 1}]}', "scores.scorer")],
)
def test_a_wrong_json_line_names_itself(tmp_path: Path, line: str, field: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{{"index": 0, "text": "a"}}\n{line}\n')
    with pytest.raises(FormatError, match=f"line 2, {field}"):
        read_labels(path)
    assert [x.index for x in read_labels(path, on_error="skip").labels] == [0]


def test_labels_of_another_sae_are_never_skipped(tmp_path: Path) -> None:
    path = write_labels([Label(i, "a") for i in (3, 4, 5)], tmp_path / "labels.csv")
    assert len(read_labels(path, 6).labels) == 3
    for on_error in ("raise", "skip"):
        with pytest.raises(FormatError, match=r"line 3, index: 4 is outside the SAE's 4 latents") as caught:
            read_labels(path, 4, on_error=on_error)  # type: ignore[arg-type] # one of the two
        assert "another SAE" in str(caught.value.hint)
        assert ".." not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"a,b\n1,2\n", "no column 'index'"), (b"index,b\n1,2\n", "no column 'text'"),
     (b"index,text,text\n", "same name"), (b"index,text\n1,\xff\xfe\n", "Line 2 is not UTF-8")],
)
def test_something_that_is_no_table(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=said):
        read_labels(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="on_error"):
        read_labels(write_labels([], tmp_path / "labels.csv"), on_error="ignore")  # type: ignore[arg-type] # on purpose


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_labels([Label(1, "a")], tmp_path / "labels.jsonl")
    before = path.read_bytes()

    def breaking():  # type: ignore[no-untyped-def] # a generator that fails
        yield Label(2, "b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_labels(breaking(), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.jsonl"]
    assert json.loads(before)["text"] == "a"
    with pytest.raises(ConfigError, match="neither"):
        write_labels([], tmp_path / "labels.xlsx")
    with pytest.raises(StorageError):
        write_labels([], path / "labels.csv")


def test_line_numbers_count_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('index,text\n1,"a\nb\nc"\nx,d\n')
    assert read_labels(path, on_error="skip").problems[0].where == "labels.csv, line 5"


def test_many_problems_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text("x\n" * 20)
    with pytest.raises(FormatError, match=r"20 of the lines.*and 15 more"):
        read_labels(path)
