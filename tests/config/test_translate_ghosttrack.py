"""GhostTrack's configuration: units of its loss, the model that it is for, and what the file may hold."""

from pathlib import Path

import numpy as np
import pytest
import torch

import saewidgets as sw
from saewidgets.config.translate import from_ghosttrack
from saewidgets.errors import ConfigError
from saewidgets.sae import build_sae

GUIDE = """
sae:
  d_model: 768
  d_hidden: 4096
  threshold: 0.1
  lambda_sparse: 0.01
sae_training:
  epochs: 20
  batch_size: 256
  learning_rate: 0.0001
  weight_decay: 0.0
  gradient_clip: 1.0
  target_recon_loss: 0.01
  target_sparsity_min: 50
  target_sparsity_max: 100
"""


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    path = tmp_path / "guide.yaml"
    path.write_text(GUIDE)
    return path


def test_the_numbers_of_the_guide_are_those_of_the_preset(guide: Path) -> None:
    found = sw.from_ghosttrack(guide, model="gpt2")
    config = found.config
    assert (config.targets.mse, config.targets.l0_min, config.targets.l0_max) == (7.68, 50, 100)
    assert config.sae.l0_coefficient == pytest.approx(0.001875)
    assert (config.epochs, config.batch_size, config.optimizer.lr, config.optimizer.grad_clip) == (20, 256, 1e-4, 768)
    assert (config.activations.normalize, config.activations.validation_share) == ("none", 0.05)
    assert (config.corpus.kind, config.optimizer.normalize_decoder_every) == ("hub", 100)
    assert {each.setting for each in found.remarks} == {
        "model.base_model", "sae.d_model", "sae.lambda_sparse", "sae.threshold", "sae_training.epochs",
        "sae_training.gradient_clip", "sae_training.target_recon_loss",
    }  # fmt: skip
    preset = sw.preset("gpt2-guide")
    own = {name: getattr(preset, name) for name in ("model", "hook_name", "tokens", "context_size")}
    assert preset == config.replace(**own, epochs=None)
    assert preset.steps == 20 * 9_500_000 // 256  # 20 passes over ten million tokens less the held-out ones


def test_the_loss_is_that_of_ghosttrack_times_d_in() -> None:
    d_in, d_sae, coefficient = 6, 10, 0.3
    found = from_ghosttrack({"sae": {"d_model": d_in, "d_hidden": d_sae, "lambda_sparse": coefficient}})
    sae = build_sae(found.config.autoencoder, d_in)
    sae.after_step()  # rows of norm one
    x = 0.3 * torch.randn(64, d_in, generator=torch.Generator().manual_seed(0))
    w = {name: tensor.detach().numpy().astype(float) for name, tensor in sae.state_dict().items()}
    pre = x.numpy().astype(float) @ w["W_enc"] + w["b_enc"]
    assert ((pre > 0) & (pre <= 0.1)).any()  # what only the threshold cuts off
    f = pre * (pre > 0.1)
    theirs = ((f @ w["W_dec"] + w["b_dec"] - x.numpy()) ** 2).mean() + coefficient * np.abs(f).mean()
    assert float(sae.loss(x).total.detach()) == pytest.approx(d_in * theirs, rel=1e-5)


def test_a_whole_file_of_the_project() -> None:
    data = {
        "project": {"name": "GhostTrack"}, "model": {"base_model": "gpt2-medium", "d_model": 1024, "device": "cuda"},
        "sae": {"architecture": "JumpReLU", "d_model": 1024, "d_hidden": 5120, "new": 1},
        "sae_training": {"num_tokens": 100_000_000, "max_length": 512, "validation_every": 1000, "weight_decay": 0.1},
    }  # fmt: skip
    found = from_ghosttrack(data, corpus="demo")
    assert (found.config.model, found.config.context_size, found.d_in) == ("gpt2-medium", 512, 1024)
    assert {each.setting for each in found.remarks if each.kind == "lost"} == {"sae.new", "sae_training.num_tokens"}
    assert "sae_training.weight_decay" in {each.setting for each in found.remarks}
    with pytest.raises(ConfigError, match="d_hidden"):
        from_ghosttrack({"sae": {"d_hidden": "wide"}})


def test_a_changed_width_changes_the_coefficient_and_other_files_are_refused(guide: Path) -> None:
    found = from_ghosttrack(guide, **{"sae.d_sae": 8192}).config
    assert found.sae.l0_coefficient == pytest.approx(0.01 * 768 / 8192)
    with pytest.raises(ConfigError, match="Not GhostTrack's configuration"):
        from_ghosttrack({"sae": {"architecture": "topk", "d_sae": 64}})
