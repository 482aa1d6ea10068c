"""What a terminal is given: names of strangers stand in errors and lists."""

import re
from types import SimpleNamespace

import pytest

from saewidgets.errors import FormatError, visible
from saewidgets.records import Records

HOSTILE = "red\x1b[31m\x9b2J\x07\r\u202egnp.eas\u2066"


@pytest.mark.parametrize("part", ["what", "where", "hint"])
def test_errors_escape_control_characters_and_can_be_pickled_and_cut(part: str) -> None:
    def said(text: str) -> tuple[str, str]:
        error = FormatError(**{"what": "It is broken.", part: text})
        return str(error), getattr(error, part)

    printed, kept = said(HOSTILE)
    assert r"red\x1b[31m\x9b2J\x07\r\u202egnp.eas\u2066" in printed
    assert printed.isprintable()
    assert kept == HOSTILE, "a page shows it as text"
    for each in said("a\ud800 b"):
        assert "a\\ud800 b" in each
        assert each.encode()
    printed, kept = said(f"There is no {'x' * 220_000}. List them.")
    assert len(printed) < 2_100
    assert re.fullmatch(r"There is no x+ … x+\. List them\.", kept)


def test_lists_escape_control_characters_and_keep_text() -> None:
    records = Records([SimpleNamespace(name=HOSTILE), SimpleNamespace(name="two\nlines")], SimpleNamespace)
    assert repr(records) == r"<2 records: red\x1b[31m\x9b2J\x07\r\u202egnp.eas\u2066, two lines>"
    assert visible("Grüße,\n\tdas ist ein 漢字 👍🏽 – é") == "Grüße,\n\tdas ist ein 漢字 👍🏽 – é"
