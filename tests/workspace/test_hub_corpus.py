"""Runs on a dataset of the hub: its exact revision is in the row, and what was killed goes on with the same text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from saewidgets.activations import documents, packing
from saewidgets.config import HubCorpus, TrainingConfig
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.events import JobStatus, Request
from saewidgets.training import run_training
from saewidgets.workspace import Workspace
from tests.hub.datasets_made import lines, wikipedia
from tests.hub.loopback import ask_loopback
from tests.hub.server import Hub
from tests.training.fakes import Scripted, sae_tensors, same
from tests.workspace.conftest import completed, same_weights, small_config


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub([wikipedia(), lines()]) as server:
        yield server


@pytest.fixture(autouse=True)
def _asks(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_loopback(hub, monkeypatch)
    monkeypatch.setattr(documents, "CHUNK_CHARACTERS", 1500)
    monkeypatch.setattr(packing, "COUNT_EVERY", 200)


@pytest.fixture
def config(tiny_model_folder: Path) -> TrainingConfig:
    return small_config(tiny_model_folder, corpus=HubCorpus.wikipedia().to_data())


def test_the_exact_revision_is_in_the_row_and_stays(ws: Workspace, config: TrainingConfig, hub: Hub) -> None:
    repo = hub.state.repos["wikimedia/wikipedia"]
    commit = repo.branches["main"]
    run = completed(ws.trainings.create(config))
    assert run.config.corpus == HubCorpus.wikipedia(revision=commit)
    assert run.record.corpus == "wikimedia/wikipedia:20231101.en"
    repo.commit({**repo.files, "20231101.en/train-00000-of-00003.parquet": b"changed"})
    hub.forget()
    again = completed(ws.trainings.get(run.id).retry())
    assert hub.requests() == [], "the same text, which is here"
    assert same_weights(run, again)
    extraction = completed(ws.extractions.create(training_id=run.id, config=ExtractionConfig(tokens=512)))
    assert hub.requests() == []
    assert ws.evaluate(run, tokens=64)["l0"] <= 4

    other = ExtractionConfig(corpus="lab/lines::test", tokens=256)
    extraction = completed(ws.extractions.create(training_id=run.id, config=other))
    facts = ws.catalog.extractions.get(extraction.id).facts
    assert facts["revision"] == hub.state.repos["lab/lines"].branches["main"]


def test_a_run_is_resumed_with_the_text_it_was_started_with(config: TrainingConfig, hub: Hub, tmp_path: Path) -> None:
    run_training(config, tmp_path / "whole")
    paused = run_training(config, tmp_path / "run", control=Scripted(Request.PAUSE, at=20))
    assert paused.status is JobStatus.PAUSED
    repo = hub.state.repos["wikimedia/wikipedia"]
    repo.commit({**repo.files, "README.md": repo.files["README.md"] + b"\nNew words.\n"})
    hub.forget()
    run_training(config, tmp_path / "run", resume=True)
    assert hub.requests() == [], "all that it needs was packed"
    same(sae_tensors(tmp_path / "run"), sae_tensors(tmp_path / "whole"))
