"""Runs on whitened activations: the same after a pause, exported as any SAE, from a store and in a group as well."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.store import StoredActivations
from saewidgets.activations.store_stream import StoredStream
from saewidgets.activations.store_write import CaptureSettings, capture_store
from saewidgets.activations.stream import ActivationStream
from saewidgets.config import ActivationCorpus, TextCorpus, TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.evaluation import evaluate
from saewidgets.events import JobStatus, Request
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel, capture
from saewidgets.sae import build_sae
from saewidgets.training import run_training
from saewidgets.training.checkpoint import newest_whole
from saewidgets.training.export import export_checkpoint
from saewidgets.training.run import Task, run_group
from tests.conftest import TINY_TEXT
from tests.training.fakes import Scripted, sae_tensors, same

RESID, D = "blocks.0.hook_resid_post", 32


@pytest.fixture(scope="module")
def config(twelve_steps: TrainingConfig) -> TrainingConfig:
    return twelve_steps.replace(
        corpus=TextCorpus(strings=TINY_TEXT), hook_name=RESID, context_size=16, log_every_steps=2,
        sae={"architecture": "jumprelu", "d_sae": 64}, optimizer={},
        **{"activations.model_batch_size": 8, "activations.norm_tokens": 512, "checkpoints.every_steps": 4,
           "activations.normalize": "covariance_whitening"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted: its folder."""
    folder = tmp_path_factory.mktemp("whitened")
    assert run_training(config, folder, tokens_folder=folder / "tokens").status is JobStatus.COMPLETED
    return folder


def test_what_it_leaves_takes_raw_activations(config: TrainingConfig, run: Path, lm: LoadedModel) -> None:
    final = newest_whole(run / "checkpoints")[0]
    assert final is not None
    scaler = final.scaler().to("cpu")
    trained = build_sae(config.sae, D)
    trained.load_state_dict(final.weights())
    trained.eval()
    left = load_sae(run / "sae")
    assert left.cfg.normalize_activations == "none"
    assert left.metadata["training_normalize_activations"] == "covariance_whitening"
    ids = torch.arange(2, 34)[None]
    x = capture(lm.model, [RESID], ids)[RESID][0]
    with torch.no_grad():
        torch.testing.assert_close(left(x), scaler.undo(trained(scaler.apply(x))), rtol=1e-3, atol=1e-4)
    # what charts show of it while it trains is of raw activations, too
    ours = evaluate(trained, lm, ids, RESID, scaler=scaler, cross_entropy=False)
    assert ours == pytest.approx(evaluate(left, lm, ids, RESID, cross_entropy=False), rel=1e-3)
    said = (run / "log.txt").read_text()
    assert "Inputs are whitened while training" in said
    assert "norm_tokens" not in said


def test_pause_and_resume_equals_a_straight_run(config: TrainingConfig, run: Path, tmp_path: Path) -> None:
    folder, tokens = tmp_path / "run", run / "tokens"
    asked = Scripted()
    run_training(config, tmp_path / "count", control=asked, tokens_folder=tokens)
    paused = run_training(config, folder, control=Scripted(Request.PAUSE, at=asked.calls // 2), tokens_folder=tokens)
    assert paused.status is JobStatus.PAUSED
    assert 0 < paused.step < 12
    found = export_checkpoint(config, folder)  # as a run that is stopped while it waits
    assert found is not None
    assert load_sae(found[0]).d_in == D
    result = run_training(config, folder, tokens_folder=tokens, resume=True)
    assert result.status is JobStatus.COMPLETED
    same(sae_tensors(folder), sae_tensors(run))


def test_a_group_shares_it_and_a_store_has_the_same(
    config: TrainingConfig, lm: LoadedModel, run: Path, tmp_path: Path
) -> None:
    other = config.replace(sae={"architecture": "topk", "d_sae": 64, "k": 4})
    tasks = [Task(config, tmp_path / "a"), Task(other, tmp_path / "b")]
    results = run_group(tasks, tokens_folder=run / "tokens")
    assert [result.status for result in results.results] == [JobStatus.COMPLETED] * 2
    same(sae_tensors(tmp_path / "a"), sae_tensors(run))

    packed = pack(open_corpus(TextCorpus(strings=TINY_TEXT)), lm.tokenizer, folder=tmp_path / "text", context_size=16)
    capture_store(lm, packed, CaptureSettings((RESID,), 10**9, model_batch_size=8), tmp_path / "store")
    stored = config.replace(corpus=ActivationCorpus(str(tmp_path / "store")), sae=other.sae)
    result = run_training(stored, tmp_path / "stored", tokens_folder=tmp_path)
    assert result.status is JobStatus.COMPLETED
    assert result.metrics["val_fvu"] < 1
    stream = ActivationStream(lm, packed, config)
    for ours, theirs in zip(
        StoredStream(StoredActivations(tmp_path / "store"), stored).estimate_covariance(),
        stream.estimate_covariance(), strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0.5, atol=1.0)  # other rows of the same text


def test_covariance_is_that_of_the_first_rows(config: TrainingConfig, lm: LoadedModel, tmp_path: Path) -> None:
    packed = pack(open_corpus(TextCorpus(strings=TINY_TEXT)), lm.tokenizer, folder=tmp_path, context_size=16)
    one_window = config.replace(activations={**config.activations.model_dump(), "shuffle_tokens": 512})
    stream = ActivationStream(lm, packed, one_window)
    batches = stream.batches()
    rows = torch.cat([next(batches) for _ in range(512 // 64)]).double()  # type: ignore[arg-type]  # no transcoder
    mean, covariance = stream.estimate_covariance()
    torch.testing.assert_close(mean, rows.mean(0), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(covariance, torch.cov(rows.T), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "changes",
    [{"sae": {"architecture": "skip", "d_sae": 64}},
     {"sae": {"architecture": "transcoder", "d_sae": 64}, "hook_name": "blocks.0.mlp.hook_in",
      "hook_name_out": "blocks.0.hook_mlp_out"}],
)  # fmt: skip
def test_architectures_that_cannot(config: TrainingConfig, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="whitening") as caught:
        TrainingConfig.from_data({**config.to_data(), **changes})
    assert caught.value.where == "activations.normalize"
