"""Descriptions hold for what they claim, and nothing plain gives none."""

from __future__ import annotations

import pytest

from saewidgets.features import Naming, Snippet, name_examples


def _snippets(*triples: str) -> list[Snippet]:
    found = []
    for triple in triples:
        previous, word, following = triple.split()
        found.append(
            Snippet(
                f"{previous} ", word, f" {following}", 1.0, 0, 0, word.lower(), previous.lower(), following.lower(), 5
            )
        )
    return found


def _named(*triples: str, random: tuple[str, ...] = ()) -> Naming | None:
    return name_examples(_snippets(*triples), _snippets(*random))


def test_one_family_of_words() -> None:
    found = _named("the government is", "to govern b", "a governor c", "our government d")
    assert found is not None
    assert found.kind == "stem"
    assert found.label == "‘government’, ‘govern’, ‘governor’"
    assert found.share == 1


def test_a_few_words() -> None:
    found = _named("a father x", "b mother y", "c father z", "d mother w", "e son v")
    assert found is not None
    assert (found.kind, set(found.words), found.share) == ("words", {"father", "mother"}, 0.8)


@pytest.mark.parametrize(
    ("order", "kind", "label"),
    [
        ("lord {} x{}", "previous", "the word after ‘lord’"),
        ("x{} {} lord", "following", "the word before ‘lord’"),
    ],
)
def test_neighbours(order: str, kind: str, label: str) -> None:
    words = ["god", "said", "jesus", "hath"]
    triples = [order.format(*((w, i) if kind == "previous" else (i, w))) for i, w in enumerate(words)]
    found = _named(*triples)
    assert found is not None
    assert (found.kind, found.label) == (kind, label)


def test_nothing_in_common() -> None:
    assert _named("a b c", "d e f", "g h i", "j k l") is None
    assert name_examples([], []) is None
