"""A workspace with fast job times, and what several tests look at once it is finished: a run, a group, a store."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Run, TrainingGroup, Workspace
from tests.conftest import TINY_TEXT

STORED = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"]  # what the store of `finished_store` holds
PATIENCE = 240  # seconds; a loaded machine takes its time
ENDLESS = {"tokens": 64 * 100_000, "checkpoints.every_steps": 1000, "evaluation.every_steps": 100_000}


def same_weights(a: Run, b: Run) -> bool:
    """Whether two runs have learned the same, bit for bit."""
    one, other = a.sae().state_dict(), b.sae().state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def completed(handle: Any) -> Any:
    """The handle of a run, a group, a store, an extraction or a job, once that has completed."""
    assert handle.wait(PATIENCE) is JobStatus.COMPLETED, handle.error
    return handle


def wait_for_step(ws: Workspace, run: Run, step: int) -> None:
    """Until the run has done `step` steps, as its workspace's subscribers are told."""
    seen = threading.Event()
    end = ws.subscribe(lambda training_id: seen.set() if run.record.step >= step else None)
    assert seen.wait(PATIENCE), run.error
    end()


def small_config(model: Path | str, **changes: Any) -> TrainingConfig:
    """Twelve steps on a tiny model; `changes` by dotted name."""
    config = TrainingConfig(
        model=str(model),
        corpus={"kind": "text", "strings": TINY_TEXT},  # type: ignore[arg-type]
        hook_name="blocks.0.hook_resid_post",
        context_size=16,
        sae={"architecture": "topk", "d_sae": 64, "k": 4},  # type: ignore[arg-type]
        tokens=12 * 64,
        batch_size=64,
        device="cpu",
        dead_window_tokens=1_000_000,
        log_every_steps=2,
        activations={"model_batch_size": 8, "shuffle_tokens": 256, "norm_tokens": 256, "validation_share": 0.1},  # type: ignore[arg-type]
        evaluation={"tokens": 256, "every_steps": 6},  # type: ignore[arg-type]
        checkpoints={"every_steps": 4},  # type: ignore[arg-type]
    )
    return config.replace(**changes) if changes else config


@pytest.fixture(scope="session")
def finished(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace in which one run, "first", has completed and kept its checkpoints at steps 4, 8 and 12."""
    folder = tmp_path_factory.mktemp("finished") / "ws"
    with Workspace(folder, jobs=JobSettings(poll=0.05)) as workspace:
        config = small_config(tiny_model_folder, name="first", **{"checkpoints.keep_every": True})
        completed(workspace.trainings.create(config))
    return folder


@pytest.fixture(scope="session")
def finished_pair(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace in which a group of two, "pair", has completed: with k 4 and with k 8."""
    folder = tmp_path_factory.mktemp("pair") / "ws"
    with Workspace(folder, jobs=JobSettings(poll=0.05)) as workspace:
        completed(workspace.trainings.create_many(small_config(tiny_model_folder, name="pair"), {"sae.k": [4, 8]}))
    return folder


@pytest.fixture(scope="session")
def finished_store(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace with a store of two hook points, "store", and a run that has completed on it, "stored"."""
    folder = tmp_path_factory.mktemp("store") / "ws"
    with Workspace(folder, jobs=JobSettings(poll=0.05)) as workspace:
        text = {"kind": "text", "strings": TINY_TEXT}
        store = completed(workspace.activations.capture(
            str(tiny_model_folder), text, STORED, 4_000, context_size=16, name="store", model_batch_size=8
        ))  # fmt: skip
        completed(workspace.trainings.create(of_store(store.corpus, name="stored")))
    return folder


def of_store(corpus: Any, **changes: Any) -> TrainingConfig:
    """A configuration that leaves the model to a store."""
    data = small_config("demo").to_data()
    del data["model"]
    return TrainingConfig.from_data({**data, "corpus": corpus}).replace(**changes)


@pytest.fixture
def run(ws: Workspace) -> Run:
    """The completed run, in a workspace of this test."""
    return ws.trainings.get("first")


@pytest.fixture
def pair(ws: Workspace) -> TrainingGroup:
    """The completed group, in a workspace of this test."""
    (group_id,) = {record.group_id for record in ws.trainings.list()}
    return ws.trainings.group(str(group_id))


COPIED = {"run": "finished", "pair": "finished_pair"}  # which workspace a test starts from that asks for one of these


@pytest.fixture
def ws(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    for wanted in COPIED.keys() & set(request.fixturenames):
        shutil.copytree(request.getfixturevalue(COPIED[wanted]), tmp_path / "ws")
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        yield workspace


@pytest.fixture
def config(tiny_model_folder: Path) -> TrainingConfig:
    return small_config(tiny_model_folder)


@pytest.fixture
def given(tiny_model_folder: Path) -> dict[str, Any]:
    """The tiny model and its tokenizer as a user hands them in."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return {
        "model": AutoModelForCausalLM.from_pretrained(tiny_model_folder),
        "tokenizer": AutoTokenizer.from_pretrained(tiny_model_folder),
    }


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a language model was loaded")

    for user in ("lm", "training.prepare"):
        monkeypatch.setattr(f"saewidgets.{user}.load_model", refuse)
