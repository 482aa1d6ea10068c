"""Evidence made by hand: latents that fire on one word."""

import random

from saewidgets.errors import NotFoundError
from saewidgets.features.labels import Example, FeatureEvidence

FILL = "the old man went down to a quiet house by his green garden and sat there".split()


def window(word: str, value: float = 1.0, seed: int = 0, length: int = 9, fires: bool = True) -> Example:
    """Random words with `word` in the middle, on which the latent fires."""
    rng = random.Random(f"{word} {seed}")
    words = [rng.choice(FILL) for _ in range(length)]
    at = length // 2
    words[at] = word
    tokens = tuple(f" {w}" for w in words)
    return Example(tokens, tuple(value if i == at and fires else 0.0 for i in range(length)), at, seed)


def evidence(index: int, word: str, n: int = 12, negatives: int = 12) -> FeatureEvidence:
    """A latent that fires on `word`."""
    return FeatureEvidence(
        index=index,
        top=tuple(window(word, 10.0 - 0.5 * i, i) for i in range(n)),
        intervals=tuple(window(word, 1 + 0.1 * i, 100 + i) for i in range(n // 2)),
        negatives=tuple(window("winter", 0.0, 200 + i, fires=False) for i in range(negatives)),
        max_activation=10.0, density=0.002, firing_count=50,
    )


class Fixed:
    """`Examples` from a list of words, one per latent; "" is a dead latent."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.asked: list[int] = []

    def of(self, index: int) -> FeatureEvidence:
        self.asked.append(index)
        if not 0 <= index < len(self.words):
            raise NotFoundError(f"There is no latent {index}.", where="index")
        return evidence(index, self.words[index]) if self.words[index] else FeatureEvidence(index)
