"""What a terminal is given: names of strangers stand in errors and lists."""

import re

import pytest

from saewidgets.errors import FormatError, visible
from saewidgets.hub_records import KnownRepo
from saewidgets.records import Records
from saewidgets.render import list_html  # noqa: F401 - lists are shown by it

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
    records = Records([KnownRepo(repo_id=name, name="", model="") for name in (HOSTILE, "two\nlines")], KnownRepo)
    assert repr(records).splitlines()[2:] == [r"red\x1b[31m\x9b2J\x07\r\u202egnp.ea…", "two lines"]
    assert visible("Grüße,\n\tdas ist ein 漢字 👍🏽 – é") == "Grüße,\n\tdas ist ein 漢字 👍🏽 – é"
