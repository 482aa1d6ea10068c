"""Models that users hand in: used by no other process, replaced by no other model, kept no longer than needed."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.config import TokensCorpus, TopKConfig, TrainingConfig
from saewidgets.errors import ConfigError, StateError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from tests.lm.models import build
from tests.workspace.conftest import PATIENCE, completed, same_weights, small_config

Load = Callable[[], dict[str, Any]]


@pytest.fixture
def load(tiny_model_folder: Path) -> Load:
    """A model that only differs from the folder's in its weights, with its tokenizer."""

    def loaded() -> dict[str, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        return {"model": model, "tokenizer": AutoTokenizer.from_pretrained(tiny_model_folder)}

    return loaded


@pytest.fixture
def mine(tiny_model_folder: Path) -> TrainingConfig:
    """Says "auto", and the name of a model that could be loaded instead of the one that is handed in."""
    return small_config(tiny_model_folder, device="auto")


def _freed(reference: Callable[[], Any]) -> bool:
    gc.collect()
    return reference() is None


def test_another_process_does_not_train_or_measure_another_model(
    ws: Workspace, mine: TrainingConfig, load: Load
) -> None:
    given = load()
    run = completed(ws.trainings.create(mine, **given))
    sae = run.import_to_saes()
    measured = ws.evaluate(run, tokens=256)
    with Workspace(ws.folder, jobs=JobSettings(poll=0.05)) as other:  # it shares the catalog and no memory
        again = other.trainings.get(run.id)
        for ask in (again.retry, again.evaluate, lambda: other.evaluate(sae.id), lambda: other.read_features(sae.id)):
            with pytest.raises(StateError, match="handed to it as an object"):
                ask()
        assert other.evaluate(sae.id, tokens=256, **given) == measured
        assert len(other.trainings.list()) == 1
        for retried in (again.retry(**given), run.retry()):  # here it is the same model without being asked for
            assert retried.wait(PATIENCE) is JobStatus.COMPLETED, retried.error
            assert same_weights(run, retried)


def test_it_trains_as_the_same_model_does_by_its_name(
    ws: Workspace, mine: TrainingConfig, load: Load, tmp_path: Path
) -> None:
    given = load()
    for each in given.values():
        each.save_pretrained(tmp_path / "saved")
    given["model"].train()
    run = completed(ws.trainings.create(mine, **given))
    assert given["model"].training
    assert same_weights(run, completed(ws.trainings.create(mine.replace(model=str(tmp_path / "saved")))))


def test_a_finished_run_leaves_its_model_to_the_user(ws: Workspace, mine: TrainingConfig, load: Load) -> None:
    given = load()
    reference = weakref.ref(given["model"])
    before = {name: tensor.data_ptr() for name, tensor in given["model"].named_parameters()}
    run = ws.trainings.create(mine, **given)
    run.wait(PATIENCE)
    assert before == {name: tensor.data_ptr() for name, tensor in given["model"].named_parameters()}
    assert not any(module._forward_hooks for module in given["model"].modules())
    assert ws.evaluate(run, tokens=256)["l0"] <= 4, "the user still has it"
    given.clear()
    assert _freed(reference)
    with pytest.raises(StateError, match="Give it: model="):
        ws.evaluate(run, tokens=256)
    with pytest.raises(StateError, match="retry"):
        run.retry()


def test_a_cancelled_run_goes_on_with_the_model_the_user_still_has(
    ws: Workspace, mine: TrainingConfig, load: Load
) -> None:
    given = load()
    before = ws.trainings.create(mine.replace(tokens=64 * 100_000, device="cpu"))
    run = ws.trainings.create(mine, **given)  # waits behind it
    run.cancel()
    before.cancel()
    run.resume()
    assert run.wait(PATIENCE) is JobStatus.COMPLETED, run.error


def test_a_run_that_can_go_on_keeps_its_model(ws: Workspace, mine: TrainingConfig, load: Load) -> None:
    given = load()
    reference = weakref.ref(given["model"])
    ws.trainings.create(mine.replace(**{"tokens": 64 * 100_000, "evaluation.every_steps": 100_000, "device": "cpu"}))
    run = ws.trainings.create(mine, **given)  # waits behind it
    given.clear()
    run.pause()
    assert run.status is JobStatus.PAUSED
    assert not _freed(reference)
    run.cancel()
    assert _freed(reference)
    with pytest.raises(StateError, match="handed to it as an object"):
        run.resume()
    assert run.status is JobStatus.CANCELLED
    for each in ws.trainings.list(status="running"):
        ws.trainings.get(each.id).cancel()


@pytest.mark.parametrize(
    ("model", "tokenizer", "words"),
    [
        ("demo", print, "is a name, not a loaded model.*TrainingConfig"),
        (torch.nn.Linear(2, 2), print, "Linear is not a transformers model"),
        (None, print, "A tokenizer needs its model"),
        (torch.nn.Linear(2, 2), None, "tokenizer"),
        (torch.nn.Linear(2, 2), "demo", "str is not a tokenizer"),
    ],
)
def test_rejects_other_objects(ws: Workspace, mine: TrainingConfig, model: Any, tokenizer: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ws.trainings.create(mine, model=model, tokenizer=tokenizer)
    assert not ws.trainings.list()


def test_a_model_without_a_tokenizer_trains_on_token_ids(ws: Workspace, tmp_path: Path) -> None:
    """Models of games and genomes: as an object, and from a folder, where transformers makes an empty tokenizer."""
    model = build("gpt2")
    model.save_pretrained(tmp_path / "othello")
    np.save(tmp_path / "games.npy", np.random.default_rng(0).integers(2, 60, (80, 16)))
    config = TrainingConfig(
        model=str(tmp_path / "othello"), corpus=TokensCorpus(tmp_path / "games.npy"), context_size=16, tokens=512,
        hook_name="blocks.1.hook_resid_post", sae=TopKConfig(d_sae=64, k=4), batch_size=128, device="cpu",
    )
    for given in (None, model):
        run = ws.trainings.create(config, model=given)
        run.wait(timeout=60)
        assert run.status is JobStatus.COMPLETED, run.error
    extraction = ws.extractions.create(training_id=run.id, config={"tokens": 512}, model=model)
    extraction.wait(timeout=60)
    feature = ws.features.list(sae_id=run.id, limit=1).to_df()["id"][0]
    example = ws.features.examples(feature)[0]
    assert all(token.strip().isdigit() for token in example.tokens)
    assert ws.features.run_on(run.id, "".join(example.tokens)).pieces == example.tokens
    assert ws.evaluate(run.id, config.corpus, tokens=64, model=model).context_size == 16
    with pytest.raises(ConfigError, match=r"no tokenizer, so it cannot read text.*ids from 0 to"):
        ws.features.run_on(run.id, "in the beginning")
    with pytest.raises(ConfigError, match="needs its tokenizer to read text"):
        ws.trainings.create(config.replace(corpus="demo"), model=model)
