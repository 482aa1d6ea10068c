"""What a terminal is given: names of strangers stand in errors and lists."""

from __future__ import annotations

import re

import pytest

from saewidgets.errors import FormatError

HOSTILE = "red\x1b[31m\x9b2J\x07\r\u202egnp.eas\u2066"


@pytest.mark.parametrize("part", ["what", "where", "hint"])
def test_errors_obey_nobody(part: str) -> None:
    error = FormatError(**{"what": "It is broken.", part: HOSTILE})
    assert r"red\x1b[31m\x9b2J\x07\r\u202egnp.eas\u2066" in str(error)
    assert str(error).isprintable()
    assert getattr(error, part) == HOSTILE, "a page shows it as text"


@pytest.mark.parametrize("part", ["what", "where", "hint"])
def test_errors_can_be_printed_and_sent(part: str) -> None:
    error = FormatError(**{"what": "It is broken.", part: "a\ud800 b"})
    for text in (str(error), getattr(error, part)):
        assert "a\\ud800 b" in text
        assert text.encode()


@pytest.mark.parametrize("part", ["what", "where", "hint"])
def test_what_is_repeated_is_cut(part: str) -> None:
    error = FormatError(**{"what": "It is broken.", part: f"There is no {'x' * 220_000}. List them."})
    assert len(str(error)) < 2_100
    assert re.fullmatch(r"There is no x+ … x+\. List them\.", getattr(error, part))
