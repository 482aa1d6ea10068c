"""What a terminal is given: names of strangers stand in errors and lists."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from saewidgets.errors import FormatError, visible
from saewidgets.records import Records

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


def test_lists_obey_nobody_and_what_is_text_stays() -> None:
    records = Records([SimpleNamespace(name=HOSTILE), SimpleNamespace(name="two\nlines")], SimpleNamespace)
    assert repr(records) == r"<2 records: red\x1b[31m\x9b2J\x07\r\u202egnp.eas\u2066, two lines>"
    assert visible("Grüße,\n\tdas ist ein 漢字 👍🏽 – é") == "Grüße,\n\tdas ist ein 漢字 👍🏽 – é"
