"""A tiny model with its tokenizer, a packed corpus, and a configuration of streams of it."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.activations import PackedTokens, open_corpus, pack
from saewidgets.config import TextCorpus, TrainingConfig
from saewidgets.lm import LoadedModel, load_model

SENTENCES = (
    "The king went down to the river and the people followed him.",
    "A great white whale rose out of the sea beside the ship, and every man cried out.",
    "It is a truth universally acknowledged that a single man in possession of a good fortune wants a wife.",
    "Fellow citizens of the Senate and of the House of Representatives.",
    "Call me Ishmael.",
)

HOOK = "blocks.0.hook_resid_post"


def stream_config(**changes: Any) -> TrainingConfig:
    """Settings of `activations` are given by their own names."""
    usual: dict[str, Any] = {"hook_name": HOOK, "context_size": 16, "batch_size": 20, "tokens": 1000}
    own = {name: changes.pop(name) for name in list(changes) if name not in TrainingConfig.model_fields}
    activations = {"model_batch_size": 3, "shuffle_tokens": 90, "norm_tokens": 256, **own}
    return TrainingConfig.from_data({**usual, "activations": activations, **changes})


def take(stream: Any, start: int, count: int) -> list[Any]:
    """So many batches from number `start` on."""
    batches = stream.batches(start)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def altered(lm: LoadedModel, change: Callable[[Any], Any]) -> LoadedModel:
    """The model with a copy of its weights, to which `change` was done."""
    model = copy.deepcopy(lm.model)
    with torch.no_grad():
        change(model)
    return replace(lm, model=model)


@pytest.fixture(scope="session")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder))


@pytest.fixture(scope="session")
def packed(lm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> PackedTokens:
    """Documents of uneven length, so that special tokens fall unevenly into the contexts."""
    strings = tuple(" ".join(SENTENCES[: 1 + n % 5]) + f" {n}" for n in range(9))
    corpus = open_corpus(TextCorpus(strings=strings))
    return pack(corpus, lm.tokenizer, folder=tmp_path_factory.mktemp("tokens"), context_size=16, validation_share=0.1)
