"""Examples of a latent as readable text (`Snippet`), and what they have in common in a few words (`name_examples`).

A name reads only the surface (the firing word and its neighbours): a latent without a plain answer is not thereby
uninterpretable. Used by `read_features` and by the heuristic that labels without a language model.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from saewidgets.lm import TokenText

_NEAR = 10  # characters on either side that make two examples the same
_EDGE = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One example: the text before, of and after the firing token, its activation, and where it is.

    `word` is what the token belongs to, lower case, without punctuation at its ends ("" if there is none); so are the
    words before and after it.
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
    """The example at `position` of a context of these `tokens`, with at most so many `before` and `after`."""
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
    words = words_around(left, token, right)
    return Snippet(left, token, right, float(value), int(context), int(position), *words, int(tokens[position]))


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
    head = left.split()[-1] if body and not lead and left[-1:].strip() else ""
    tail = right.split()[0] if body and body[-1:].strip() and right[:1].strip() else ""
    before = (left + lead)[: len(left) + len(lead) - len(head)].split()
    after = right[len(tail) :].split()
    return normal(head + body + tail), normal(before[-1]) if before else "", normal(after[0]) if after else ""


def normal(word: str) -> str:
    """Lower case, without punctuation at either end; punctuation alone stays as it is."""
    word = word.strip()
    return (_EDGE.sub("", word) or word).lower()


def _split_space(token: str) -> tuple[str, str]:
    body = token.lstrip()
    return (token[: len(token) - len(body)], body) if body else ("", token)


def _one_line(text: str) -> str:
    return "".join(" ↵ " if c == "\n" else c if c.isprintable() or c == " " else "�" for c in text).replace("  ", " ")


Kind = Literal["word", "words", "stem", "number", "previous", "following"]

_STEM = 5  # letters that two words must begin with to count as one family


@dataclass(frozen=True, slots=True)
class Naming:
    """A short description, and the shares of the top examples and of randomly chosen firings that it holds for.

    `kind` is what the examples share: the firing word, one of two or three words, the beginning of the word, that it
    is a number, the word before, or the word after.
    """

    kind: Kind
    words: tuple[str, ...]
    label: str
    share: float
    random_share: float


def name_examples(top: Sequence[Snippet], random: Sequence[Snippet], least: float = 0.75) -> Naming | None:
    """The plainest description that holds for at least the share `least` of `top`; None if there is none."""
    if not top:
        return None
    for kind, words, label, holds in _candidates(top):
        share = _share(top, holds)
        if share >= least:
            return Naming(kind, words, label, share, _share(random, holds))
    return None


def _share(snippets: Sequence[Snippet], holds: Callable[[Snippet], bool]) -> float:
    return sum(map(holds, snippets)) / len(snippets) if snippets else 0.0


def _candidates(
    top: Sequence[Snippet],
) -> list[tuple[Kind, tuple[str, ...], str, Callable[[Snippet], bool]]]:
    words = Counter(s.word for s in top if s.word)
    previous = Counter(s.previous for s in top if s.previous)
    following = Counter(s.following for s in top if s.following)
    found: list[tuple[Kind, tuple[str, ...], str, Callable[[Snippet], bool]]] = []
    if words:
        word = words.most_common(1)[0][0]
        found.append(("word", (word,), f"‘{word}’", lambda s: s.word == word))
        if len(word) >= _STEM and word[:_STEM].isalpha():
            stem = word[:_STEM]
            family = tuple(w for w, _ in words.most_common() if w.startswith(stem))
            label = ", ".join(f"‘{w}’" for w in family[:3])
            found.append(("stem", family[:3], label, lambda s: s.word.startswith(stem)))
        few = tuple(w for w, count in words.most_common(3) if count >= max(2, 0.15 * len(top)))
        if len(few) > 1:
            found.append(("words", few, " or ".join(f"‘{w}’" for w in few), lambda s: s.word in few))
        found.append(("number", ("0",), "numbers", lambda s: s.word.replace(",", "").isdigit()))
    if previous:
        before = previous.most_common(1)[0][0]
        found.append(("previous", (before,), f"the word after ‘{before}’", lambda s: s.previous == before))
    if following:
        after = following.most_common(1)[0][0]
        found.append(("following", (after,), f"the word before ‘{after}’", lambda s: s.following == after))
    return found
