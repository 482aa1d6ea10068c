"""Errors of the library in the words of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import saewidgets
from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.widgets.commands import in_page_words


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        ("They were on a. If they were moved, say where to: ws.saes.locate(id, path).", "press Locate files"),
        ("List them with ws.saes.list() or `saewidgets saes list`.", "It was deleted"),
        ("Say where whole files are (locate), or download or import it again.", "Locate whole files"),
    ],
)
def test_hints_name_buttons(hint: str, words: str) -> None:
    error = in_page_words(NotFoundError("It is not there.", where="sae_1", hint=hint))
    assert words in (error.hint or "")
    assert "ws." not in (error.hint or "")
    assert (error.what, error.where) == ("It is not there.", "sae_1")


def test_what_uses_an_sae_is_said_in_words() -> None:
    error = in_page_words(StateError("a is in use: a job of kind extraction (running) reads it.", hint="Wait."))
    assert error.what == "a is in use: an extraction that is running reads it."
    assert error.hint == "Wait."


def test_names_of_arguments_are_no_places_on_a_page() -> None:
    assert in_page_words(SAEWidgetsError("They differ.", where="b")).where is None
    assert in_page_words(SAEWidgetsError("Damaged.", where="cfg.json")).where == "cfg.json"


def test_no_hint_of_the_library_names_a_method_that_has_no_words_here() -> None:
    folder = Path(saewidgets.__file__).parent / "workspace"
    files = [folder / "saes.py", *(folder / "library").glob("*.py")]
    hints = [hint for file in files for hint in re.findall(r'hint=f?"([^"]*)"', file.read_text("utf-8"))]
    assert len(hints) > 20
    for hint in hints:
        said = in_page_words(SAEWidgetsError("x", hint=hint)).hint or ""
        assert not re.search(r"\bws\.|\bsw\.|`saewidgets|tags=", said), hint
