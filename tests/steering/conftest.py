"""A tiny model with its tokenizer, and the demo model."""

from pathlib import Path

import pytest

from saewidgets.lm import LoadedModel, load_model


@pytest.fixture(scope="session")
def tiny(tiny_model_folder: Path) -> LoadedModel:
    """A random two-layer GPT-2, width 32, context 64."""
    return load_model(str(tiny_model_folder))


@pytest.fixture(scope="session")
def demo() -> LoadedModel:
    """The embedded model: Llama, width 256, context 256."""
    return load_model("demo")
