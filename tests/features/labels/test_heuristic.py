"""Without a model: deterministic, plain about what it is, and right where words decide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.features.labels import Example, FeatureEvidence, LLMAnswerError, offline, top_tokens
from tests.features.labels.examples import evidence


def _firing(*texts: str) -> FeatureEvidence:
    """Windows "before [word] after"; it fires on the word in brackets."""
    windows = []
    for text in texts:
        before, word, after = text.replace("[", "|").replace("]", "|").split("|")
        windows.append(Example((before, word, after), (0.0, 2.0, 0.0), 1))
    return FeatureEvidence(0, tuple(windows), max_activation=2.0)


def test_the_heuristic_describes_itself() -> None:
    known = evidence(1, "king")
    text, description = offline().explain(known, known.top)
    assert text == "‘king’"
    assert description == (
        "Found by matching words, without a language model: holds for 100% of 12 examples and for 100% of examples "
        "from all activations."
    )
    assert offline().explain(known, known.top) == (text, description)
    assert offline().model == "offline heuristic"
    with pytest.raises(LLMAnswerError):
        offline().explain(FeatureEvidence(0), [])
    assert top_tokens(FeatureEvidence(0)) == ""


def test_without_a_common_word_the_tokens_stand_in() -> None:
    known = _firing("a [cat] b", "c [dog] d", "e [fox] f", "g [cow] h", "i [cat] j")
    text, description = offline().explain(known, known.top)
    assert text == "‘cat’, ‘cow’, ‘dog’, ‘fox’"
    assert "no word is shared" in description
    assert top_tokens(known, 1) == "‘cat’"
    assert offline().explain(known, known.top[:2])[0] == "‘cat’, ‘dog’"  # those of the examples it was given
    huge = _firing(*[f"a [{'x' * 10_000}] b", f"c [{'x' * 10_000}] d"])
    assert len(offline().explain(huge, huge.top)[0]) < 350


def test_special_tokens_are_words_of_their_own() -> None:
    tokens = ("the", " end", ".", "<|endoftext|>", "Then", " he")
    for peak, label in ((3, "‘<|endoftext|>’"), (4, "‘then’")):
        windows = tuple(Example(tokens, [float(at == peak) for at in range(6)], peak, n) for n in range(3))
        text, _ = offline().explain(FeatureEvidence(0, windows, max_activation=1.0), windows)
        assert text == label
        assert offline().judge(text, tokens, [at == peak for at in range(6)])


@pytest.mark.parametrize(
    ("label", "text", "verdict"),
    [
        ("‘king’", "the old king sat", True),
        ("‘king’", "the old queen sat", False),
        ("‘king’ or ‘queen’", "the old Queen, sat", True),
        ("the word after ‘lord’", "the lord spoke", True),
        ("the word after ‘lord’", "lord", False),
        ("the word before ‘lord’", "my lord", True),
        ("numbers", "in 1,861 men", True),
        ("numbers", "in the year", False),
        ("references to government institutions", "the governor of Maine", True),
        ("references to government institutions", "the old house", False),
        ("the of and", "anything", None),
        ("<b>", "anything", None),
    ],
)
def test_judging_a_window(label: str, text: str, verdict: bool | None) -> None:
    assert offline().judge(label, [f" {w}" for w in text.split()], None) is verdict


def test_judging_marks() -> None:
    tokens = [" the", " lord", " spoke", " to", " kings"]
    judge = offline().judge
    assert judge("‘lord’", tokens, [False, True, False, False, False]) is True
    assert judge("‘lord’", tokens, [True, False, False, False, False]) is False
    assert judge("the word after ‘lord’", tokens, [False, False, True, False, False]) is True
    assert judge("monarchs, kings", tokens, [False, False, False, False, True]) is True
    assert judge("‘lord’", tokens, [False] * 5) is False


def test_a_label_of_tokens_is_judged_by_tokens() -> None:
    tokens = [" the", " sur", "prise", ".", "\n"]
    judge = offline().judge
    assert judge("‘ sur’, ‘ab’", tokens, None) is True
    assert judge("‘sur’, ‘ab’", tokens, None) is False
    assert judge("‘ sur’, ‘ab’", tokens, [False, True, False, False, False]) is True
    assert judge("‘ sur’, ‘ab’", tokens, [False, False, True, False, False]) is False
    assert judge("‘↵’", tokens, [False, False, False, False, True]) is True
    assert judge("the word after ‘ sur’", tokens, [False, True, False, False, False]) is False


@given(st.text(max_size=60), st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_any_label_and_window(label: str, tokens: list[str]) -> None:
    verdict = offline().judge(label, tokens, [True] * len(tokens))
    assert (verdict is None) == (offline().judge(label, tokens, None) is None)
