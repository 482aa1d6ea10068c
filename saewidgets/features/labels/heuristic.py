"""Labels and judgements without a language model: words that the examples share, and words that a label names.

Defines `offline` and `top_tokens`. Labels carry its name as their model, and their description says how often the word
held. It reads the surface only (`name_examples`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from saewidgets.features.labels.evidence import Example, FeatureEvidence, shortened, visible
from saewidgets.features.labels.label import HEURISTIC
from saewidgets.features.labels.llm import LLMAnswerError
from saewidgets.features.labels.prompts import marked_tokens
from saewidgets.features.snippets import Snippet, distinct, name_examples, normal, words_around

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
            words = ["", *map(normal, "".join(tokens).split()), ""]
            around = zip(words[1:-1], words, words[2:], strict=False)
            return any(visible(t) in named for t in tokens) or any(rule(*three) for three in around)
        hits = [visible(token) in named or rule(*words_around("".join(tokens[:at]), token, "".join(tokens[at + 1 :])))
                for at, token in enumerate(tokens) if marks[at]]
        return bool(hits) and 2 * sum(hits) >= len(hits)


offline = Heuristic


def _snippet(example: Example) -> Snippet:
    at = example.peak
    left, token, right = "".join(example.tokens[:at]), example.tokens[at], "".join(example.tokens[at + 1 :])
    return Snippet(left, token, right, example.value, 0, at, *words_around(left, token, right), token_id=-1)


def top_tokens(evidence: FeatureEvidence, n: int = 5) -> str:
    """What stands in for a label: the tokens on which the latent fires most, ``‘ cat’, ‘ dog’``; "" if not known."""
    return _quoted(evidence.activating(), n)


def _quoted(examples: Iterable[Example], n: int = 5) -> str:
    return ", ".join(f"‘{visible(shortened(token, 40))}’" for token, _ in marked_tokens(examples)[:n] if token)


def _rule(text: str) -> _Rule | None:
    """What the label says of a word, the one before it and the one after it; None if it names no word."""
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
