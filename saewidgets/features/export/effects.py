"""Logit effects as exports show them: token by token with its text. They are optional everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saewidgets.features.logit_effects import decoder_directions, logit_effects
from saewidgets.features.store.read import Store
from saewidgets.lm import TokenText
from saewidgets.lm.unembedding import Unembedding
from saewidgets.sae import SAE


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
