"""Trainings from a store: no language model is loaded for them, and they end in what they would from text."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.store_write import CaptureSettings, capture_store
from saewidgets.config import ActivationCorpus, TextCorpus, TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus, Request
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel
from saewidgets.training import run_training
from tests.conftest import TINY_TEXT
from tests.training.fakes import Scripted, sae_tensors, same

RESID, MLP = "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def store(lm: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    packed = pack(open_corpus(TextCorpus(strings=TINY_TEXT)), lm.tokenizer, folder=folder / "tokens", context_size=16)
    settings = CaptureSettings((RESID, MLP), 10**9, model_batch_size=8)
    for dtype in ("float32", "int8"):
        capture_store(lm, packed, replace(settings, dtype=dtype), folder / dtype)
    return folder / "float32"


def _config(corpus: Any, **changes: Any) -> TrainingConfig:
    config = TrainingConfig(
        corpus=corpus, hook_name=RESID, context_size=16,
        sae={"architecture": "topk", "d_sae": 64, "k": 4}, tokens=12 * 64, batch_size=64, device="cpu",  # type: ignore[arg-type]
        log_every_steps=2,
        activations={"model_batch_size": 8, "shuffle_tokens": 256, "norm_tokens": 256, "validation_share": 0.1},  # type: ignore[arg-type]
        evaluation={"tokens": 256, "every_steps": 6}, checkpoints={"every_steps": 4},  # type: ignore[arg-type]
    )  # fmt: skip
    return config.replace(**changes) if changes else config


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a language model was loaded")

    monkeypatch.setattr("saewidgets.training.prepare.load_model", refuse)


def test_it_ends_like_the_training_on_the_text(store: Path, lm: LoadedModel, tmp_path: Path, no_model: None) -> None:
    stored = run_training(_config(ActivationCorpus(str(store))), tmp_path / "stored")
    text = _config(TextCorpus(strings=TINY_TEXT))
    live = run_training(text, tmp_path / "live", model=lm)
    assert stored.status is JobStatus.COMPLETED
    one, other = load_sae(stored.sae_path or ""), load_sae(live.sae_path or "")
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-3, atol=1e-4)
    for name in ("val_fvu", "val_l0", "val_mse", "loss"):
        assert stored.metrics[name] == pytest.approx(live.metrics[name], rel=1e-3)
    assert "ce_loss_score" in live.metrics
    assert "ce_loss_score" not in stored.metrics
    about = json.loads((Path(stored.sae_path or "") / "cfg.json").read_text())["metadata"]
    assert (about["model_name"], about["model_class_name"], about["dataset_path"]) == (
        lm.name, "GPT2LMHeadModel", "32 strings",
    )


def test_the_cross_entropy_is_measured_where_it_is_asked_for(store: Path, lm: LoadedModel, tmp_path: Path) -> None:
    result = run_training(_config(ActivationCorpus(str(store))), tmp_path / "a", model=lm)
    assert result.metrics["ce_loss_score"] == result.metrics["ce_loss_score"]
    asked = _config(ActivationCorpus(str(store), cross_entropy=True), model="/nowhere")
    with pytest.raises(NotFoundError, match="no such folder"):  # it is loaded for that
        run_training(asked, tmp_path / "b")
    with pytest.raises(ConfigError, match="no cross-entropy can choose"):
        run_training(
            _config(ActivationCorpus(str(store)), **{"checkpoints.best_metric": "ce_loss_score"}), tmp_path / "c"
        )


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_paused_and_resumed_it_is_the_same_bit_for_bit(
    store: Path, tmp_path: Path, no_model: None, dtype: str
) -> None:
    config = _config(ActivationCorpus(str(store.with_name(dtype))))
    run_training(config, tmp_path / "straight")
    paused = run_training(config, tmp_path / "paused", control=Scripted(Request.PAUSE, at=17))
    assert paused.status is JobStatus.PAUSED
    assert 0 < paused.step < 12
    resumed = run_training(config, tmp_path / "paused", resume=True)
    assert resumed.status is JobStatus.COMPLETED
    same(sae_tensors(tmp_path / "paused"), sae_tensors(tmp_path / "straight"))
    log = (tmp_path / "paused" / "log.txt").read_text()
    assert "not be bit-identical" not in log


def test_a_transcoder_trains_from_two_hook_points(store: Path, tmp_path: Path, no_model: None) -> None:
    config = _config(ActivationCorpus(str(store))).replace(
        sae={"architecture": "transcoder", "d_sae": 64}, hook_name_out=MLP
    )
    result = run_training(config, tmp_path / "t")
    assert result.status is JobStatus.COMPLETED
    assert 0 < result.metrics["val_fvu"] < 10
