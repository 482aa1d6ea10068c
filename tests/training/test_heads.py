"""Runs on one head of attention: of queries that share keys, beside all heads, and a transcoder between heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from saewidgets.config import TopKConfig, TrainingConfig, TranscoderConfig
from saewidgets.config.translate import from_saelens
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel, wrap_model
from saewidgets.training import Task, run_group
from tests.conftest import TINY_TEXT
from tests.lm.models import family

Z = "blocks.1.attn.hook_z"


@pytest.fixture(scope="module")
def lm(tiny_tokenizer_folder: Path) -> LoadedModel:
    """Gemma 2 with four heads of 12 over two of keys, at d_model 32."""
    model = family("gemma2", vocab_size=304, head_dim=12)
    return wrap_model(model, AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def _config(hook_name: str, **changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "corpus": {"kind": "text", "strings": TINY_TEXT}, "hook_name": hook_name, "context_size": 16, "tokens": 192,
        "batch_size": 64, "device": "cpu", "sae": TopKConfig(d_sae=64, k=4), "evaluation": {"tokens": 256},
        "activations": {"shuffle_tokens": 128, "norm_tokens": 256, "model_batch_size": 8},
    }  # fmt: skip
    return TrainingConfig(**settings | changes)


def test_heads_train_together_as_they_do_alone(lm: LoadedModel, tmp_path: Path) -> None:
    configs = [_config(f"{Z}.3"), _config(Z), _config(f"{Z}.0")]
    configs.append(_config(f"{Z}.0", hook_name_out="blocks.2.attn.hook_z.1", sae=TranscoderConfig(d_sae=64)))
    tasks = [Task(config, tmp_path / str(number)) for number, config in enumerate(configs)]
    run_group(tasks, model=lm, tokens_folder=tmp_path / "tokens")
    run_group([Task(configs[0], tmp_path / "alone")], model=lm, tokens_folder=tmp_path / "tokens")
    together, alone = (load_file(tmp_path / one / "sae" / "sae_weights.safetensors") for one in ("0", "alone"))
    assert all(torch.equal(tensor, alone[name]) for name, tensor in together.items())

    saes = [load_sae(tmp_path / str(number) / "sae") for number in range(4)]
    assert [(sae.d_in, sae.d_out, sae.cfg.reshape_activations) for sae in saes] == [
        (12, 12, "none"), (48, 48, "hook_z"), (12, 12, "none"), (12, 12, "none"),
    ]  # fmt: skip
    for number, (config, sae) in enumerate(zip(configs, saes, strict=True)):
        assert sae.metadata["hook_name"] == config.hook_name
        again = from_saelens(tmp_path / str(number) / "sae" / "cfg.json", corpus="demo", batch_size=64).config
        assert again.hook_names == config.hook_names
    written = json.loads((tmp_path / "3" / "sae" / "cfg.json").read_text())["metadata"]
    assert {key: value for key, value in written.items() if "hook" in key} == {
        "hook_name": Z, "hook_head_index": 0, "hook_name_out": "blocks.2.attn.hook_z", "hook_head_index_out": 1,
    }  # fmt: skip
