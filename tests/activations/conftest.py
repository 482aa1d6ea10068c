"""A tiny model with its tokenizer, and a packed corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.activations import PackedTokens, open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.lm import LoadedModel, load_model

SENTENCES = (
    "The king went down to the river and the people followed him.",
    "A great white whale rose out of the sea beside the ship, and every man cried out.",
    "It is a truth universally acknowledged that a single man in possession of a good fortune wants a wife.",
    "Fellow citizens of the Senate and of the House of Representatives.",
    "Call me Ishmael.",
)


@pytest.fixture(scope="session")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder))


@pytest.fixture(scope="session")
def packed(lm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> PackedTokens:
    """Documents of uneven length, so that special tokens fall unevenly into the contexts."""
    strings = tuple(" ".join(SENTENCES[: 1 + n % 5]) + f" {n}" for n in range(9))
    corpus = open_corpus(TextCorpus(strings=strings))
    return pack(corpus, lm.tokenizer, folder=tmp_path_factory.mktemp("tokens"), context_size=16, validation_share=0.1)
