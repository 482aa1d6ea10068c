"""Examples as readable text: a window around the firing token, the token marked, the word it belongs to."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from saewidgets.lm import TokenText

_NEAR = 10  # characters on either side that make two examples the same
_EDGE = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One example.

    Attributes:
        before, token, after: the text, cut at the firing token; `token` is the text of that token alone.
        value: the activation.
        context, position: where it is.
        word: the word that the token belongs to, lower case, without punctuation at its ends ("" if there is none).
        previous, following: the words before and after, likewise.
        token_id: the firing token.
    """

    before: str
    token: str
    after: str
    value: float
    context: int
    position: int
    word: str
    previous: str
    following: str
    token_id: int

    def __str__(self) -> str:
        """One line, the token marked «so»; line ends are shown as ↵."""
        lead, body = _split_space(self.token)
        return _one_line(f"{self.before}{lead}«{body}»{self.after}")

    def to_html(self) -> str:
        """One line of HTML, everything escaped, the token in a ``<mark>``."""
        lead, body = _split_space(self.token)
        return (
            f"{html.escape(_one_line(self.before + lead))}<mark>{html.escape(_one_line(body))}</mark>"
            f"{html.escape(_one_line(self.after))}"
        )


def make_snippet(
    tokens: Sequence[int], position: int, value: float, context: int, text: TokenText, before: int = 12, after: int = 8
) -> Snippet:
    """The example at `position` of a context.

    Args:
        tokens: the ids of the whole context.
        position: of the firing token.
        value: its activation.
        context: number of the context.
        text: for the context's tokenizer.
        before, after: tokens shown on either side.
    """
    start = max(0, position - before)
    while start < position and b"\x80" <= text.bytes(int(tokens[start]))[:1] < b"\xc0":
        start += 1  # not from the middle of a character
    window = [int(t) for t in tokens[start : position + after + 1]]
    # Special tokens are marks, not text: shown as breaks.
    pieces = ["\n" if text.is_special(t) else piece for t, piece in zip(window, text.pieces(window), strict=True)]
    at = position - start
    while at > 0 and not pieces[at]:  # within a character that several tokens share
        at -= 1
    left, token, right = "".join(pieces[:at]), pieces[at], "".join(pieces[at + 1 :])
    word, previous, following = words_around(left, token, right)
    return Snippet(
        before=left, token=token, after=right, value=float(value), context=int(context), position=int(position),
        word=word, previous=previous, following=following, token_id=int(tokens[position]),
    )


def distinct(snippets: Iterable[Snippet]) -> list[Snippet]:
    """Those whose nearest surroundings did not occur before: a form filled in a hundred times says one thing once."""
    seen: set[tuple[str, str, str]] = set()
    found = []
    for snippet in snippets:
        near = (snippet.before[-_NEAR:].strip().lower(), snippet.token, snippet.after[:_NEAR].strip().lower())
        if near not in seen:
            seen.add(near)
            found.append(snippet)
    return found


def words_around(left: str, token: str, right: str) -> tuple[str, str, str]:
    """The word around `token`, the one before it and the one after it, normalised."""
    lead, body = _split_space(token)
    head = "" if lead or not body else _last_partial(left)
    tail = "" if not body or body[-1].isspace() else _first_partial(right)
    before = (left + lead)[: len(left) + len(lead) - len(head)].split()
    after = right[len(tail) :].split()
    return normal(head + body + tail), normal(before[-1]) if before else "", normal(after[0]) if after else ""


def normal(word: str) -> str:
    """Lower case, without punctuation at either end; punctuation alone stays as it is."""
    word = word.strip()
    return (_EDGE.sub("", word) or word).lower()


def _last_partial(text: str) -> str:
    return "" if not text or text[-1].isspace() else text.split()[-1]


def _first_partial(text: str) -> str:
    return "" if not text or text[0].isspace() else text.split()[0]


def _split_space(token: str) -> tuple[str, str]:
    body = token.lstrip()
    return (token[: len(token) - len(body)], body) if body else ("", token)


def _one_line(text: str) -> str:
    return "".join(" ↵ " if c == "\n" else c if c.isprintable() or c == " " else "�" for c in text).replace("  ", " ")
