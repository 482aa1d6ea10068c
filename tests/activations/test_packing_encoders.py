"""Contexts of encoders stand between [CLS] and [SEP]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from saewidgets.activations import open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.errors import ConfigError
from tests.conftest import TINY_TEXT
from tests.lm.models import encoder_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    return encoder_tokenizer(AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def _stream(tokenizer: Any) -> list[int]:
    return [i for text in TINY_TEXT for i in (1, *tokenizer(text, add_special_tokens=False).input_ids)]


def test_every_context_is_framed_and_nothing_is_lost(tokenizer: Any, tmp_path: Path) -> None:
    packed = pack(open_corpus(TextCorpus(strings=tuple(TINY_TEXT))), tokenizer, folder=tmp_path, context_size=16)
    contexts = packed.contexts(np.arange(packed.n_contexts))
    assert (contexts[:, 0] == 0).all()
    assert (contexts[:, -1] == 1).all()
    inner = contexts[:, 1:-1].reshape(-1)
    assert inner.tolist() == _stream(tokenizer)[: len(inner)]
    kept = packed.kept(contexts)
    assert not kept[:, [0, -1]].any()
    assert kept.sum() == (inner != 1).sum()


def test_a_context_must_have_room(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no room for text") as caught:
        pack(open_corpus(TextCorpus(strings=("a king",))), tokenizer, folder=tmp_path, context_size=2)
    assert caught.value.where == "context_size"
    assert not list(tmp_path.glob("*/tokens.bin"))
