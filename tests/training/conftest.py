"""Fixtures of the training tests."""

import pytest

from saewidgets.config import TextCorpus, TrainingConfig
from saewidgets.lm import load_model
from tests.conftest import TINY_TEXT
from tests.training.fakes import SAES, Recorder


@pytest.fixture
def recorder():
    """An `Emit` that keeps every event."""
    return Recorder()


@pytest.fixture(scope="session")
def twelve_steps(tiny_model_folder):
    """Twelve steps of 64 tokens on the second layer of the tiny model."""
    return TrainingConfig(
        model=str(tiny_model_folder), corpus=TextCorpus(strings=TINY_TEXT * 4), hook_name="blocks.1.hook_resid_post",
        context_size=32, sae=SAES["topk"], tokens=12 * 64, batch_size=64,
        activations={"model_batch_size": 4, "shuffle_tokens": 256, "norm_tokens": 256, "validation_share": 0.1},
        evaluation={"tokens": 256, "every_steps": 6}, checkpoints={"every_steps": 5}, log_every_steps=3,
        optimizer={"lr": 3e-3}, device="cpu",
    )


@pytest.fixture(scope="session")
def tokens_folder(tmp_path_factory):
    """Packed text, shared by these tests as it is by the runs of a workspace."""
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="session")
def lm(tiny_model_folder):
    return load_model(str(tiny_model_folder))
