"""What every export needs: the features that were chosen, their effects on logits (`Effects`), texts and numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saewidgets.errors import ConfigError
from saewidgets.feature_records import check_index
from saewidgets.features.labels.evidence import visible
from saewidgets.features.logit_effects import decoder_directions, logit_effects
from saewidgets.features.store.feature_data import StoredExample
from saewidgets.features.store.query import Noted
from saewidgets.features.store.read import Store
from saewidgets.lm import TokenText
from saewidgets.lm.unembedding import Unembedding
from saewidgets.sae import SAE

NOBODY = Noted()
_LONGEST = 64  # characters of a token that a page shows


def selected(store: Store, indices: Iterable[int] | None) -> list[int]:
    """The features to export, each once, in the order given; None: all of them.

    Raises:
        ConfigError: there is none, or the SAE does not have one of them.
    """
    if indices is None:
        return list(range(store.d_sae))
    try:
        found = list(dict.fromkeys(operator.index(index) for index in indices))
    except TypeError as error:
        raise ConfigError(
            f"These are not numbers of features: {error}.", where="indices", hint="Give whole numbers."
        ) from error
    if not found:
        raise ConfigError("No feature is chosen.", where="indices", hint="Choose at least one.")
    for index in found:
        check_index(index, store.d_sae)
    return found


def noted_of(notes: Mapping[int, Noted] | None, index: int) -> Noted:
    """What is said about a feature."""
    return NOBODY if notes is None else notes.get(index, NOBODY)


def peak_texts(store: Store, index: int) -> list[str]:
    """The commonest tokens of a feature's top examples, at most three."""
    return [store.text_of(int(token)) for token in store.peak_tokens[index] if token >= 0]


def whole_characters(example: StoredExample) -> tuple[list[tuple[str, float]], int]:
    """(text, activation) per piece that has a text, and which is the peak's.

    A character that several tokens share is one piece, with the largest of their activations.
    """
    pieces: list[tuple[str, float]] = []
    peak = 0
    for place, (text, value) in enumerate(zip(example.pieces, example.activations.tolist(), strict=True)):
        if text or not pieces:
            pieces.append((text, value))
        else:
            pieces[-1] = (pieces[-1][0], max(pieces[-1][1], value))
        if place == example.peak:
            peak = len(pieces) - 1
    return pieces, peak


def shown(text: str) -> str:
    """A token as a page shows it: on one line, nothing invisible, bounded."""
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return visible(text)


def clean(text: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold: null characters and halves of surrogate pairs become U+FFFD."""
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def rounded(values: Iterable[float] | npt.NDArray[np.floating], digits: int = 5) -> list[float]:
    """Numbers with so many significant digits.

    Raises:
        ConfigError: one of them is NaN or infinite.
    """
    array = np.asarray(list(values), dtype=np.float64)
    if not np.isfinite(array).all():
        raise ConfigError(
            "A number to be exported is NaN or infinite.", where="values", hint="Extract the features again."
        )
    return [float(f"{value:.{digits}g}") for value in array.tolist()]


def centres(edges: npt.NDArray[np.floating] | Sequence[float]) -> list[float]:
    """The middle of every bin of a histogram."""
    array = np.asarray(edges, dtype=np.float64)
    return rounded((array[:-1] + array[1:]) / 2)


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """A token, its text, and the change of its logit per unit of activation."""

    token: int
    text: str
    value: float


@dataclass(frozen=True, slots=True)
class Effects:
    """What a feature does to the next token.

    Attributes:
        raises, lowers: the strongest first.
        counts, edges: histogram over the vocabulary; empty where it was not computed.
        on: the changes of the logits of any tokens; None where only the strongest are known.
    """

    raises: Sequence[TokenEffect]
    lowers: Sequence[TokenEffect]
    counts: Sequence[int] = ()
    edges: Sequence[float] = ()
    on: Callable[[Sequence[int]], list[float]] | None = None


EffectsOf = Callable[[int], Effects | None]
"""The effects of a feature, or None where they are not known."""


def computed_effects(sae: SAE, head: Unembedding, text: TokenText, n: int = 10) -> EffectsOf:
    """Effects computed when they are asked for: one product with the unembedding per feature.

    Raises:
        ConfigError: when asked, where the SAE's output is no vector of the model's residual stream.
    """

    def effects(index: int) -> Effects:
        found = logit_effects(sae, head, index, n)
        whole: list[list[float]] = []  # once it is asked for

        def on(tokens: Sequence[int]) -> list[float]:
            if not whole:
                whole.append(head.effects(decoder_directions(sae, [index]))[0].tolist())
            return [whole[0][token] for token in tokens]

        return Effects(
            _named(found.raises, text), _named(found.lowers, text), [int(c) for c in found.counts],
            [float(e) for e in found.edges], on,
        )

    return effects


def stored_effects(store: Store, text: TokenText | None = None) -> EffectsOf | None:
    """Effects from an extraction for which they were computed for all features; None where they were not.

    Args:
        store: the extraction.
        text: of the model's tokenizer; None takes the texts that are stored with the tables.
    """
    arrays = store.logits
    if arrays is None:
        return None

    def effects(index: int) -> Effects:
        pairs = [
            list(zip(arrays[f"{kind}_tokens"][index].tolist(), arrays[f"{kind}_logits"][index].tolist(), strict=True))
            for kind in ("top", "bottom")
        ]
        raises, lowers = ([(token, value) for token, value in found if token >= 0] for found in pairs)
        if text is not None:
            return Effects(_named(raises, text), _named(lowers, text))
        kept = [[TokenEffect(token, store.logit_text(token), value) for token, value in of] for of in (raises, lowers)]
        return Effects(kept[0], kept[1])

    return effects


def _named(pairs: Sequence[tuple[int, float]], text: TokenText) -> list[TokenEffect]:
    return [TokenEffect(int(token), text.text([token]), float(value)) for token, value in pairs]
