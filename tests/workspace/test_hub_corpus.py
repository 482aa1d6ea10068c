"""Runs on a dataset of the hub: its exact revision is in the row, and what was killed goes on with the same text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from saewidgets.activations import documents, packing
from saewidgets.config import HubCorpus, TrainingConfig
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.training import run_training
from saewidgets.workspace import Run, Workspace
from tests.hub.datasets_made import lines, wikipedia
from tests.hub.loopback import ask_loopback
from tests.hub.server import Hub
from tests.workspace.conftest import PATIENCE, same_weights, small_config


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


def _finished(run: Run) -> Run:
    assert run.wait(PATIENCE) is JobStatus.COMPLETED, run.error
    return run


def _weights(folder: str | Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(Path(folder) / "sae_weights.safetensors")


def test_the_exact_revision_is_in_the_row_and_stays(ws: Workspace, config: TrainingConfig, hub: Hub) -> None:
    repo = hub.state.repos["wikimedia/wikipedia"]
    commit = repo.branches["main"]
    run = _finished(ws.trainings.create(config))
    assert run.config.corpus == HubCorpus.wikipedia(revision=commit)
    assert run.record.corpus == "wikimedia/wikipedia:20231101.en"
    facts = ws.catalog.datasets.facts("wikimedia/wikipedia:20231101.en")
    assert facts == {
        "kind": "hub", "path": "wikimedia/wikipedia", "name": "20231101.en", "split": "train", "revision": commit,
    }  # fmt: skip
    repo.commit({**repo.files, "20231101.en/train-00000-of-00003.parquet": b"changed"})
    hub.forget()
    again = _finished(ws.trainings.get(run.id).retry())
    assert hub.requests() == [], "the same text, which is here"
    assert same_weights(run, again)
    extraction = ws.extractions.create(training_id=run.id, config=ExtractionConfig(tokens=512))
    assert extraction.wait(PATIENCE) is JobStatus.COMPLETED, extraction.error
    assert hub.requests() == []
    assert ws.evaluate(run, tokens=64)["l0"] <= 4

    other = ExtractionConfig(corpus="lab/lines::test", tokens=256)
    extraction = ws.extractions.create(training_id=run.id, config=other)
    assert extraction.wait(PATIENCE) is JobStatus.COMPLETED, extraction.error
    facts = ws.catalog.extractions.get(extraction.id).facts
    assert facts["revision"] == hub.state.repos["lab/lines"].branches["main"]


def test_what_is_wrong_is_told_by_the_run(ws: Workspace, config: TrainingConfig, hub: Hub) -> None:
    run = ws.trainings.create(config.replace(**{"corpus.name": "20231101.xx"}))
    assert run.wait(PATIENCE) is JobStatus.FAILED
    assert run.error is not None
    assert "has no configuration '20231101.xx'" in str(run.error)
    assert "20231101.de" in str(run.error)
    assert list((ws.folder / "tokens").glob("*/tokens.bin")) == []


_KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from saewidgets.activations import packing
from saewidgets.activations import documents
from saewidgets.config import TrainingConfig
from saewidgets.training import run_training, checkpoint
documents.CHUNK_CHARACTERS = 1500
packing.COUNT_EVERY = 200
if {when!r} == "packing":
    put = packing.put_facts
    def killed(target, facts):
        put(target, facts)
        os.kill(os.getpid(), 9)
    packing.put_facts = killed
def emit(event):
    if {when!r} == "training" and type(event).__name__ == "CheckpointSaved":
        os.kill(os.getpid(), 9)
run_training(TrainingConfig.from_data({config!r}), Path({folder!r}), emit=emit)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="processes are killed another way there")
@pytest.mark.parametrize("when", ["packing", "training"])
def test_killed_and_resumed_it_ends_in_the_same_bits(
    config: TrainingConfig, hub: Hub, tmp_path: Path, when: str
) -> None:
    whole = run_training(config, tmp_path / "whole")
    root, folder = str(Path(__file__).resolve().parents[2]), tmp_path / "run"
    code = _KILLED.format(root=root, when=when, config=config.to_data(), folder=str(folder))
    environment = {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert ended.returncode == -9, ended.stderr
    repo = hub.state.repos["wikimedia/wikipedia"]
    repo.commit({**repo.files, "README.md": repo.files["README.md"] + b"\nNew words.\n"})
    hub.forget()
    result = run_training(config, folder, resume=True)
    read = [seen.path for seen in hub.requests(r"resolve|storage")]
    assert not any("train-00000" in path for path in read) or when == "packing"
    if when == "training":
        assert hub.requests() == [], "all that it needs was packed"
    assert result.sae_path is not None
    assert whole.sae_path is not None
    before, after = _weights(whole.sae_path), _weights(result.sae_path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def test_a_dataset_that_is_not_there_is_an_error_of_ours(tmp_path: Path, config: TrainingConfig) -> None:
    with pytest.raises(SAEWidgetsError, match="no dataset lab/none"):
        run_training(config.replace(**{"corpus.path": "lab/none"}), tmp_path / "run")
