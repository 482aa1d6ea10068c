"""What the examples of a latent have in common, in a few words, if there is something plain to say.

This reads only the surface (the firing word and its neighbours): a latent without a plain answer is not thereby
uninterpretable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from saewidgets.features.snippets import Snippet

Kind = Literal["word", "words", "stem", "number", "previous", "following"]

_STEM = 5  # letters that two words must begin with to count as one family


@dataclass(frozen=True, slots=True)
class Naming:
    """A short description and how well it holds.

    Attributes:
        kind: what the examples share: the firing word, one of two or three words, the beginning of the word, that it is
            a number, the word before, or the word after.
        words: the words in question.
        label: a phrase for people.
        share: part of the top examples it holds for.
        random_share: part of randomly chosen firings it holds for (0 without any).
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
    """Descriptions from the narrowest to the widest."""
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
