"""The estimate before Start: sizes by hand, and no torch."""

import subprocess
import sys

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.training.estimate import ModelSize, disk_bytes, estimate, sae_parameters
from tests.training.fakes import SAES

GPT2 = ModelSize(parameters=124_439_808, d_model=768, n_layers=12, vocab_size=50_257)
CONFIG = TrainingConfig(model="gpt2", sae={"architecture": "topk", "d_sae": 16_384, "k": 32})


def _part(result, label):
    return next(part.bytes for part in result.memory if part.label == label)


def test_parts_by_hand():
    result = estimate(CONFIG, GPT2, 768)
    assert [part.label for part in result.memory] == ["Model", "SAE", "Activations", "Others"]
    assert _part(result, "Model") == 124_439_808 * 4
    assert _part(result, "SAE") == 4 * 4 * (2 * 768 * 16_384 + 16_384 + 768)
    assert _part(result, "Activations") == (65_536 + 4_096) * 768 * 4
    assert result.total_bytes == sum(part.bytes for part in result.memory)


@pytest.mark.parametrize("architecture", SAES)
def test_parameter_count_is_that_of_the_real_thing(architecture):
    from saewidgets.sae import build_sae

    config = CONFIG.replace(sae={**SAES[architecture], "d_sae": 48})
    assert sae_parameters(config, 10) == sum(p.numel() for p in build_sae(config.sae, 10).parameters())


def test_what_makes_it_grow_and_shrink():
    base = estimate(CONFIG, GPT2, 768)
    assert _part(estimate(CONFIG, GPT2, 768, model_is_loaded=True), "Model") == 0
    assert _part(estimate(CONFIG.replace(model_dtype="bfloat16"), GPT2, 768), "Model") == _part(base, "Model") // 2
    large = CONFIG.replace(batch_size=65_536)
    split = estimate(large.replace(gradient_accumulation=16), GPT2, 768)
    assert _part(split, "Others") < _part(estimate(large, GPT2, 768), "Others") / 2
    wide = estimate(CONFIG.replace(**{"activations.shuffle_tokens": 2**20}), GPT2, 768)
    assert _part(wide, "Activations") > 10 * _part(base, "Activations")
    assert _part(estimate(CONFIG, GPT2, 768, device="cuda:0"), "Others") > _part(base, "Others")


def test_time_needs_a_measured_rate():
    assert estimate(CONFIG, GPT2, 768).seconds is None
    result = estimate(CONFIG, GPT2, 768, measured_rate=10_000.0)
    assert result.seconds == pytest.approx(1_000, rel=1e-3)
    assert result.basis == "measured on this device"


def test_disk_counts_what_is_kept():
    weights = 4 * sae_parameters(CONFIG, 768)
    few, all_of_them = disk_bytes(CONFIG, 768), disk_bytes(CONFIG.replace(**{"checkpoints.keep_every": True}), 768)
    assert few > 3 * 3 * weights
    assert all_of_them - few == pytest.approx(9 * 3 * weights, rel=0.01)


def test_no_torch_is_needed():
    code = "import sys, saewidgets.training.estimate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
