"""Labels and judgements without a language model: words that the examples share, and words that a label names.

Defines `offline`, whose labels carry its name as their model and say how often the word held, and what `read_features`
uses, too: examples of a latent as readable text (`FiringSnippet`) and what they have in common in a few words
(`name_examples`). It reads only the surface: a latent without a plain answer is not thereby uninterpretable.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from saewidgets.features.labels.evidence import Example, FeatureEvidence, shortened, visible
from saewidgets.features.labels.label import HEURISTIC
from saewidgets.features.labels.llm import LLMAnswerError
from saewidgets.features.labels.prompts import marked_tokens

if TYPE_CHECKING:
    from saewidgets.lm import TokenText

_NEAR = 10  # characters on either side that make two examples the same
_EDGE = re.compile(r"^\W+|\W+$")
_MARK = re.compile(r"<\S*[^\W\d]\S*>|\[\S*[^\W\d]\S*\]")  # as tokenizers write special tokens
_QUOTED = re.compile(r"[‘“\"']([^‘’“”\"']+)[’”\"']")
_NEIGHBOUR = re.compile(r"\b(after|before)\s+[‘“\"']")
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    """a about after an and any are as at be before by concept concepts context contexts especially for from has have in
    indicating into is it its mention mentions of often on or other particularly phrase phrases reference references
    related specific specifically such term terms text texts than that the their them these they this those to token
    tokens use used using various when where which with within word words""".split()
)
_LONGEST = 300  # characters of a label
_Rule = Callable[[str, str, str], bool]
_STEM = 5  # letters that count as the same word: king, kings; govern, government


@dataclass(frozen=True, slots=True)
class FiringSnippet:
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
) -> FiringSnippet:
    """The example at `position` of a context of these `tokens`, with at most so many `before` and `after`."""
    start = max(0, position - before)
    while start < position and b"\x80" <= text.bytes(int(tokens[start]))[:1] < b"\xc0":
        start += 1  # not from the middle of a character
    window = [int(t) for t in tokens[start : position + after + 1]]
    pieces, at = text.pieces(window), position - start
    while at > 0 and not pieces[at]:  # within a character that several tokens share
        at -= 1
    parts = _parts(pieces, at)
    words = words_around(*parts)
    return FiringSnippet(*parts, float(value), int(context), int(position), *words, int(tokens[position]))


def _spaced(tokens: Iterable[str]) -> str:
    return "".join(f" {token} " if _MARK.fullmatch(token) else token for token in tokens)


def _parts(tokens: Sequence[str], at: int) -> tuple[str, str, str]:
    """The text before, of and after a token. A mark such as ``<|im_end|>`` is a word of its own."""
    left, right = _spaced(tokens[:at]), _spaced(tokens[at + 1 :])
    return (f"{left} ", tokens[at], f" {right}") if _MARK.fullmatch(tokens[at]) else (left, tokens[at], right)


def distinct(snippets: Iterable[FiringSnippet]) -> list[FiringSnippet]:
    """Those whose nearest surroundings did not occur before: a form filled in a hundred times counts once."""
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
    """Lower case, without punctuation at either end; punctuation alone and marks stay unchanged."""
    word = word.strip()
    return (word if _MARK.fullmatch(word) else _EDGE.sub("", word) or word).lower()


def _split_space(token: str) -> tuple[str, str]:
    body = token.lstrip()
    return (token[: len(token) - len(body)], body) if body else ("", token)


def _one_line(text: str) -> str:
    return "".join(" ↵ " if c == "\n" else c if c.isprintable() or c == " " else "�" for c in text).replace("  ", " ")


Kind = Literal["word", "words", "stem", "number", "previous", "following"]


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


def name_examples(top: Sequence[FiringSnippet], random: Sequence[FiringSnippet], least: float = 0.75) -> Naming | None:
    """The plainest description that holds for at least the share `least` of `top`; None if there is none."""
    for kind, words, label, holds in _candidates(top):
        share = sum(map(holds, top)) / len(top)
        if share >= least:
            return Naming(kind, words, label, share, sum(map(holds, random)) / len(random) if random else 0.0)
    return None


def _candidates(
    top: Sequence[FiringSnippet]
) -> Iterator[tuple[Kind, tuple[str, ...], str, Callable[[FiringSnippet], bool]]]:
    words, previous, following = (
        Counter(word for s in top if (word := getattr(s, side))).most_common()
        for side in ("word", "previous", "following")
    )
    if words:
        word = words[0][0]
        yield "word", (word,), f"‘{word}’", lambda s: s.word == word
        stem = word[:_STEM]
        if len(stem) == _STEM and stem.isalpha():
            family = tuple(w for w, _ in words if w.startswith(stem))[:3]
            yield "stem", family, ", ".join(f"‘{w}’" for w in family), lambda s: s.word.startswith(stem)
        few = tuple(w for w, count in words[:3] if count >= max(2, 0.15 * len(top)))
        if len(few) > 1:
            yield "words", few, " or ".join(f"‘{w}’" for w in few), lambda s: s.word in few
        yield "number", ("0",), "numbers", lambda s: s.word.replace(",", "").isdigit()
    if previous:
        before = previous[0][0]
        yield "previous", (before,), f"the word after ‘{before}’", lambda s: s.previous == before
    if following:
        after = following[0][0]
        yield "following", (after,), f"the word before ‘{after}’", lambda s: s.following == after


class Heuristic:
    """`offline`: needs no model, key or network; `label_features` and `score_labels` take it as a language model."""

    model = HEURISTIC

    def __repr__(self) -> str:
        return "offline()"

    def explain(self, evidence: FeatureEvidence, examples: Sequence[Example]) -> tuple[str, str]:
        """The plainest thing that the examples share; else the tokens on which the latent fires most."""
        top = distinct(map(_snippet, examples))
        found = name_examples(top, [_snippet(e) for e in evidence.intervals])
        if found is not None:
            known = f" and for {found.random_share:.0%} of examples from all activations" if evidence.intervals else ""
            return shortened(visible(found.label), _LONGEST), (
                f"Found by matching words, without a language model: holds for {found.share:.0%} of {len(top)} "
                f"examples{known}."
            )
        text = _quoted(examples)  # not of all examples: the others are for judging
        if not text:
            raise LLMAnswerError("The examples have no readable token.", where="examples")
        return text, "The tokens on which it fires most; no word is shared by most of the examples."

    def judge(self, text: str, tokens: Sequence[str], marks: Sequence[bool] | None) -> bool | None:
        """Whether words or tokens that the label names occur in the window, or are what is marked; None: names none."""
        rule = _rule(text)
        if rule is None:
            return None
        named = {token for token in _QUOTED.findall(text) if not _NEIGHBOUR.search(text)}  # as `top_tokens` writes them
        if marks is None:
            words = ["", *map(normal, _spaced(tokens).split()), ""]
            around = zip(words[1:-1], words, words[2:], strict=False)
            return any(visible(t) in named for t in tokens) or any(rule(*three) for three in around)
        hits = [visible(token) in named or rule(*words_around(*_parts(tokens, at)))
                for at, token in enumerate(tokens) if marks[at]]
        return bool(hits) and 2 * sum(hits) >= len(hits)


offline = Heuristic


def _snippet(example: Example) -> FiringSnippet:
    parts = _parts(example.tokens, example.peak)
    return FiringSnippet(*parts, example.value, 0, example.peak, *words_around(*parts), token_id=-1)


def top_tokens(evidence: FeatureEvidence, n: int = 5) -> str:
    """A substitute for a label: the tokens on which the latent fires most, ``‘ cat’, ‘ dog’``; "" if not known."""
    return _quoted(evidence.activating(), n)


def _quoted(examples: Iterable[Example], n: int = 5) -> str:
    return ", ".join(f"‘{visible(shortened(token, 40))}’" for token, _ in marked_tokens(examples)[:n] if token)


def _rule(text: str) -> _Rule | None:
    """The label's rule for a word, the one before it and the one after it; None if it names no word."""
    lowered = text.lower()
    named = {normal(word) for word in _QUOTED.findall(lowered)} - {""}
    side = _NEIGHBOUR.search(lowered)
    if named and side:
        if side[1] == "after":
            return lambda word, previous, following: previous in named
        return lambda word, previous, following: following in named
    numbers = bool(re.search(r"\bnumbers?\b|\bdigits?\b|\bnumerals?\b", lowered))
    words = named or {w for w in _WORD.findall(lowered) if w not in _COMMON and len(w) > 2}
    if not words:
        return None
    stems = {w[:_STEM] for w in words if len(w) >= _STEM}

    def holds(word: str, previous: str, following: str) -> bool:
        return (
            word in words
            or (len(word) >= _STEM and word[:_STEM] in stems)
            or (numbers and word.replace(",", "").replace(".", "").isdigit())
        )

    return holds
