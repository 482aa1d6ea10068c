"""Trainings that read a store: what they take from it, what they refuse, and what keeps it from being deleted."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config import ActivationCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from saewidgets.workspace.activations import Capture
from tests.workspace.conftest import PATIENCE, STORED, completed, of_store, same_weights, small_config

RESID, MLP = STORED


@pytest.fixture(scope="module")
def filled(finished_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Capture]]:
    folder = shutil.copytree(finished_store, tmp_path_factory.mktemp("stored") / "ws")
    with Workspace(folder, jobs=JobSettings(poll=0.05)) as ws:
        yield ws, ws.activations.get("store")


def test_a_run_takes_model_and_context_from_its_store(
    filled: tuple[Workspace, Capture], tiny_model_folder: Path, no_model: None
) -> None:
    ws, store = filled
    run = ws.trainings.get("stored")
    again = completed(ws.trainings.create(of_store(ActivationCorpus("store"), context_size=999)))
    config = again.config
    assert config.corpus == ActivationCorpus(store.id)  # the name stood for it
    assert (config.model, config.context_size) == (str(tiny_model_folder), 16)
    assert again.record.corpus == store.id
    assert "val_fvu" in again.record.latest
    assert "ce_loss_score" not in again.record.latest
    assert same_weights(run, again)


def test_the_sae_is_read_on_the_text_of_its_store(filled: tuple[Workspace, Capture]) -> None:
    ws, store = filled
    run = ws.trainings.get("stored")
    sae = run.import_to_saes()
    wanted = ws.extractions.defaults(sae_id=sae.id)
    assert wanted.corpus is not None
    assert (wanted.corpus.kind, wanted.context_size, wanted.tokens) == ("text", 16, 100_000)
    asked = ws.extractions.create(sae_id=sae.id, config={"corpus": store.id, "tokens": 64})
    assert asked.config.corpus == wanted.corpus
    ws.read_features(run, n=1, tokens=64)  # reads the text of the store too
    found = ws.evaluate(sae.id, tokens=256)
    assert 0 < found["fvu"] < 2


def test_several_trainings_read_one_store_together(filled: tuple[Workspace, Capture], no_model: None) -> None:
    ws, store = filled
    group = completed(ws.trainings.create_many(of_store(store.corpus), over={"hook_name": [RESID, MLP]}))
    alone = completed(ws.trainings.create(of_store(store.corpus, hook_name=MLP)))
    assert same_weights(alone, next(run for run in group.runs if run.record.hook_name == MLP))


def test_what_does_not_fit_is_refused_before_it_starts(filled: tuple[Workspace, Capture]) -> None:
    ws, store = filled
    before = len(ws.trainings.list())
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"hook_name": "blocks.1.hook_attn_out"}, ConfigError, "hook_name: The store store does not hold"),
        ({"model": "gpt2"}, ConfigError, "not from gpt2"),
        ({"corpus": {"kind": "activations", "store_id": "nothing"}}, NotFoundError, "no store of activations"),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            ws.trainings.create(of_store(changes.pop("corpus", store.corpus), **changes))
    assert len(ws.trainings.list()) == before


def test_the_form_shows_the_settings_of_the_store(filled: tuple[Workspace, Capture], tiny_model_folder: Path) -> None:
    ws, store = filled
    data = {**small_config("demo").to_data(), "corpus": store.id}
    found = ws.trainings.validate(data)
    assert found["fields"] == {}
    assert found["model"]["d_model"] == 32  # of the store's model, not of the one in the form
    model = next(part for part in found["estimate"]["memory"] if part["label"] == "Model")
    assert model["bytes"] == 0
    assert found["hints"]["corpus"] == "store: captured before; no language model runs"
    wrong = ws.trainings.validate({**data, "hook_name": "blocks.1.hook_attn_out"})
    assert "does not hold blocks.1.hook_attn_out" in wrong["fields"]["hook_name"]
    missing = ws.trainings.validate({**data, "corpus": "acts_01J8ZC3V5W6X7Y8Z9A0B1C2D3E"})
    assert "no store of activations" in missing["fields"]["corpus"]


def test_a_store_in_use_is_not_deleted_and_a_changed_one_not_trained_from(filled: tuple[Workspace, Capture]) -> None:
    ws, store = filled
    run = ws.trainings.create(of_store(store.corpus, name="reader", tokens=64 * 100_000))
    try:
        with pytest.raises(StateError, match="1 training reads this store: reader"):
            ws.activations.delete(store.id)
        assert ws.activations.used_by(store.id) == [run.id]
        run.pause()
        assert run.wait(PATIENCE) is JobStatus.PAUSED
        file = Path(store.record.folder) / RESID / "00000.bin"
        data = file.read_bytes()
        file.write_bytes(b"\x01" + data[1:])
        try:
            with pytest.raises(FormatError, match="was written to"):
                ws.trainings.create(of_store(store.corpus))
            run.resume()
            assert run.wait(PATIENCE) is JobStatus.FAILED
            assert run.error is not None
            assert "was written to" in run.error.what
        finally:
            file.write_bytes(data)
    finally:
        if run.status is not JobStatus.FAILED:
            run.cancel()
            run.wait(PATIENCE)
        run.delete()
    assert store.record.state == "ok"
    assert not ws.activations.used_by(store.id)


def test_imported_states_need_a_name_for_their_model(filled: tuple[Workspace, Capture], tmp_path: Path) -> None:
    ws, _ = filled
    states = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    torch.save({"hidden_states": states, "layer_idx": 0}, tmp_path / "layer_0_states.pt")
    store = completed(ws.activations.import_states(tmp_path / "layer_0_states.pt"))
    data = of_store(store.corpus).to_data()
    del data["model"]
    with pytest.raises(ConfigError, match="do not say which model"):
        ws.trainings.create(data)
    run = completed(ws.trainings.create({**data, "model": "gpt2"}))
    assert run.record.latest["val_fvu"] > 0
    assert ws.extractions.defaults(training_id=run.id).corpus is None
    assert store.id in ws.suggestions()["corpus"]
    freed = ws.activations.delete(store.id)
    assert store.id not in ws.suggestions()["corpus"]
    assert freed >= 400 * 16 * 4
    with pytest.raises(NotFoundError):
        ws.activations.get(store.id)
    assert not (ws.folder / "activations" / store.id).exists()
