import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from transformers import AutoTokenizer

from saewidgets.activations.packed import PackedTokens
from saewidgets.features.store.read import FeatureStore
from tests.conftest import TINY_TEXT
from tests.features.store.made import D, make_store, packed_text, sparse_latents


@pytest.fixture(scope="session")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_tokenizer_folder)


@pytest.fixture(scope="session")
def made(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, npt.NDArray[np.float32]]:
    """A folder with an extraction `ext` of 40 latents (0 is dead, 1 fires everywhere) and its `tokens`; the latents."""
    folder = tmp_path_factory.mktemp("made")
    packed = packed_text(tokenizer, folder / "tokens", TINY_TEXT)
    latents = sparse_latents(packed.n_contexts * packed.context_size, D)
    make_store(folder / "ext", packed, tokenizer, latents, facts={"name": "tiny <b>SAE</b>"})
    return folder, latents


@pytest.fixture
def latents(made: tuple[Path, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return made[1]


@pytest.fixture
def store(made: tuple[Path, npt.NDArray[np.float32]], tmp_path: Path) -> FeatureStore:
    """One that a test may damage."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    return FeatureStore(tmp_path / "ext", tmp_path / "tokens")


@pytest.fixture
def packed(store: FeatureStore) -> PackedTokens:
    return store.packed
