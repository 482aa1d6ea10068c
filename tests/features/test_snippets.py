"""Snippets: the right token is marked, words are whole, nothing is taken for HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saewidgets.features import Snippet, make_snippet
from saewidgets.features.snippets import distinct
from saewidgets.lm import TokenText


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_tokenizer_folder))


def _at(tokenizer: Any, text: str, needle: str, occurrence: int = 0, **window: int) -> Snippet:
    """The snippet at the token in which `needle` begins."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = TokenText(tokenizer).pieces(ids)
    start = -1
    for _ in range(occurrence + 1):
        start = text.index(needle, start + 1)
    end = 0
    for position, piece in enumerate(pieces):
        end += len(piece)
        if end > start:
            return make_snippet(ids, position, 1.5, 7, TokenText(tokenizer), **window)
    raise AssertionError


def test_the_firing_token_is_marked(tokenizer: Any) -> None:
    snippet = _at(tokenizer, "Then the king went down to the river.", "the river", before=40, after=40)
    assert snippet.token == " the"
    assert snippet.before + snippet.token + snippet.after == "Then the king went down to the river."
    assert str(snippet) == "Then the king went down to «the» river."
    assert (snippet.previous, snippet.word, snippet.following) == ("to", "the", "river")
    assert (snippet.value, snippet.context) == (1.5, 7)


def test_a_word_of_several_tokens_is_read_whole_from_any_of_them(tokenizer: Any) -> None:
    text = "we saw Zarathustra, sleeping"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = TokenText(tokenizer).pieces(ids)
    starts = [sum(map(len, pieces[:i])) for i in range(len(pieces))]
    inside = [i for i, start in enumerate(starts) if 7 <= start < 18]
    assert len(inside) > 2
    for position in inside:
        snippet = make_snippet(ids, position, 1, 0, TokenText(tokenizer), before=30, after=30)
        assert (snippet.previous, snippet.word, snippet.following) == ("saw", "zarathustra", "sleeping")


def test_the_window_is_as_wide_as_asked(tokenizer: Any) -> None:
    ids = tokenizer("abcdefghijklmnop", add_special_tokens=False)["input_ids"]
    snippet = make_snippet(ids, 5, 1, 0, TokenText(tokenizer), before=2, after=3)
    text = TokenText(tokenizer)
    assert snippet.before == text.text(ids[3:5])
    assert snippet.token == text.text(ids[5:6])
    assert snippet.after == text.text(ids[6:9])


def test_line_ends_special_tokens_and_controls_are_shown_as_marks(tokenizer: Any) -> None:
    ids = [1, *tokenizer("a\nb\x1b\u202e", add_special_tokens=False)["input_ids"]]
    shown = str(make_snippet(ids, 1, 1, 0, TokenText(tokenizer)))
    assert shown == " ↵ «a» ↵ b��"
    assert str(_at(tokenizer, "a\nb", "\n")) == "a« ↵ »b"


def test_a_character_over_several_tokens_is_marked_whole(tokenizer: Any) -> None:
    ids = tokenizer("a🐳b", add_special_tokens=False)["input_ids"]
    for position in (1, 2, 3, 4):
        snippet = make_snippet(ids, position, 1, 0, TokenText(tokenizer))
        assert snippet.token == "🐳"
        assert str(snippet) == "a«🐳»b"
        assert snippet.position == position


def test_hostile_text_is_escaped(tokenizer: Any) -> None:
    text = '<script>alert("x")</script> <img src=x onerror=y> & <b>'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for position in range(len(ids)):
        shown = make_snippet(ids, position, 1, 0, TokenText(tokenizer), before=99, after=99).to_html()
        assert shown.count("<") == shown.count(">") == 2
        assert shown.count("<mark>") == shown.count("</mark>") == 1


def test_a_form_that_was_filled_in_many_times_is_shown_once(tokenizer: Any) -> None:
    form = "note: figures may not total 100 for the year"
    first, again = _at(tokenizer, f"a king; {form}", "total"), _at(tokenizer, f"the river; {form}", "total")
    other = _at(tokenizer, "the total number of vessels", "total")
    assert distinct([first, again, other, again]) == [first, other]
