"""Configurations in YAML: plain tables of bounded size."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from saewidgets.errors import FormatError
from saewidgets.formats.source import FolderSource
from saewidgets.formats.yamlfile import MAX_BYTES, read_yaml


def read(folder: Path, text: str) -> object:
    (folder / "c.yaml").write_text(text)
    return read_yaml(FolderSource(folder), "c.yaml")


def test_plain_values(tmp_path: Path) -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc:\n  d: 'q'\n  e: {f: \"g\"}\n"
    assert read(tmp_path, text) == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "q", "e": {"f": "g"}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "references or tags"), ("a: !!python/name:os.mkdir\n", "references or tags"),
        ("a: !!str 3\n", "references or tags"), ("a: 1\na: 2\n", "a key is repeated"), ("- a\n", "not a table"),
        ("", "not a table"), ("a: [1\n", "not plain"), ("a: 1\n---\nb: 2\n", "not plain"),
        ("? [a]\n: 1\n", "not plain"),
        ("a: " + "[" * 80 + "]" * 80, "too deeply"), ("a: [" + "1," * 5_000 + "]", "4,000 values"),
        ("a: " + "9" * 5000, "not plain"), ("a: " + "x" * MAX_BYTES, "at most 32,768"), ("a: \x07", "not plain"),
    ],
)
def test_everything_else_is_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(FormatError, match=message):
        read(tmp_path, text)
    assert time.perf_counter() - start < 10


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"c\.yaml: The file is missing"):
        read_yaml(FolderSource(tmp_path), "c.yaml")
