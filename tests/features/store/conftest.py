from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from transformers import AutoTokenizer

from saewidgets.activations.packed import PackedTokens
from saewidgets.features.store.read import Store
from tests.conftest import TINY_TEXT
from tests.features.store.made import make_store, packed_text, sparse_latents

D = 40


@pytest.fixture
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_tokenizer_folder)


@pytest.fixture
def packed(tokenizer: Any, tmp_path: Path) -> PackedTokens:
    return packed_text(tokenizer, tmp_path / "tokens", TINY_TEXT)


@pytest.fixture
def latents(packed: PackedTokens) -> npt.NDArray[np.float32]:
    return sparse_latents(packed.n_contexts * packed.context_size, D)


@pytest.fixture
def store(tmp_path: Path, packed: PackedTokens, tokenizer: Any, latents: npt.NDArray[np.float32]) -> Store:
    make_store(tmp_path / "ext", packed, tokenizer, latents)
    return Store(tmp_path / "ext", tmp_path / "tokens")
