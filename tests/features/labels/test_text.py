"""Text of strangers stays on its line and inside its marks, whatever it holds."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from saewidgets.features.labels.prompts import quoted
from saewidgets.features.labels.text import MAX_TOKEN, active, escaped, marked, plain, redacted, unescaped, visible

HOSTILE = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>\\[]{}\n\r\0\u202e\u2066\ud800")), max_size=30)


def _parsed(line: str) -> list[tuple[str, bool]]:
    """Runs of text and whether they are marked, read back from a prompt's line."""
    runs: list[tuple[str, bool]] = []
    inside, start, at = False, 0, 0
    while at < len(line):
        if line[at] == "\\":
            at += 2
        elif line[at : at + 2] in ("<<", ">>"):
            assert (line[at : at + 2] == ">>") == inside
            runs.append((line[start:at], inside))
            inside, at = not inside, at + 2
            start = at
        else:
            assert line[at] not in "<>"
            at += 1
    assert not inside
    runs.append((line[start:], False))
    return [(unescaped(text), mark) for text, mark in runs if text]


@given(st.lists(st.tuples(HOSTILE, st.booleans()), max_size=8))
def test_marks_come_back_from_any_text(pairs: list[tuple[str, bool]]) -> None:
    tokens, marks = [t for t, _ in pairs], [m for _, m in pairs]
    line = marked(tokens, marks)
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")
    expected: list[tuple[str, bool]] = []
    for token, mark in pairs:
        if text := visible(token):
            if expected and expected[-1][1] == mark:
                expected[-1] = (expected[-1][0] + text, mark)
            else:
                expected.append((text, mark))
    found: list[tuple[str, bool]] = []
    for text, mark in _parsed(line):  # an empty token between two marks ends one and begins the next
        if found and found[-1][1] == mark:
            found[-1] = (found[-1][0] + text, mark)
        else:
            found.append((text, mark))
    assert found == expected
    assert "".join(text for text, _ in _parsed(plain(tokens))) == "".join(map(visible, tokens))


@given(HOSTILE)
def test_escaping_is_undone(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>]", escaped(text))


@given(HOSTILE)
def test_nothing_invisible_is_left(text: str) -> None:
    shown = visible(text)
    kinds = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert not set(shown) & set("\n\r\t\0\u202e\u202d\u2066\u2069\u200b\ufeff\u2028\u2029\x1b")
    assert visible(shown) == shown


@given(HOSTILE)
def test_a_quoted_string_ends_where_it_ends(text: str) -> None:
    line = quoted(text)
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', line)


def test_control_characters_are_shown_by_number() -> None:
    assert visible("a\u202eb\0c\nd") == "a[U+202E]b[U+0000]c↵d"
    assert visible("naïve 日本 👩‍🚀") == "naïve 日本 👩‍🚀"


def test_a_huge_token_is_cut_and_says_so() -> None:
    line = marked([" a", "x" * 10_000], [False, True])
    assert line == f" a<<{'x' * MAX_TOKEN}…[9,880 more characters]>>"


def test_neighbours_share_a_mark_above_a_third_of_the_maximum() -> None:
    assert active([0, 3.0, 3.1, 10, 0]) == [False, False, True, True, False]
    assert active([0, 0]) == [False, False]
    assert marked([" a", " b", " c", " d"], [False, True, True, False]) == " a<< b c>> d"


def test_what_looks_like_a_key_is_left_out() -> None:
    text = "Bearer abc.def sk-proj-abcdef123 hf_abcdefgh and my-own-key"
    assert redacted(text, "my-own-key") == "… … … and …"
