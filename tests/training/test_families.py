"""A short run on every family of models, at every kind of hook point, on single heads too: it ends with an SAE."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from saewidgets.activations import PackedTokens
from saewidgets.config import (
    ActivationsConfig,
    EvaluationConfig,
    TextCorpus,
    TopKConfig,
    TrainingConfig,
    TranscoderConfig,
)
from saewidgets.config.translate import from_saelens
from saewidgets.evaluation import evaluate
from saewidgets.events import JobStatus
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel, wrap_model
from saewidgets.training import Task, run_group
from saewidgets.training.run import run_training
from tests.conftest import TINY_TEXT
from tests.lm.models import ENCODERS, FAMILIES, encoder_tokenizer, family
from tests.training.fakes import sae_tensors, same

SHORT = ("gpt2", "gemma2", "mixtral", "bert")  # the others are long tests
SITES = ("hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_z", "mlp.hook_in")


@pytest.fixture(scope="module")
def tokenizers(tiny_tokenizer_folder: Path) -> tuple[Any, Any]:
    """Of causal models, and of encoders."""
    causal = AutoTokenizer.from_pretrained(tiny_tokenizer_folder)
    return causal, encoder_tokenizer(causal)


@pytest.fixture(scope="module")
def tokens_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed once for all runs here."""
    return tmp_path_factory.mktemp("tokens")


def config(hook_name: str, **changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "corpus": TextCorpus(strings=tuple(TINY_TEXT)), "hook_name": hook_name, "context_size": 16,
        "sae": TopKConfig(d_sae=64, k=4), "tokens": 192, "batch_size": 64, "device": "cpu",
        "activations": ActivationsConfig(shuffle_tokens=128, norm_tokens=256, model_batch_size=8),
        "evaluation": EvaluationConfig(tokens=256),
    }  # fmt: skip
    return TrainingConfig(**settings | changes)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in FAMILIES]
)
def test_a_run_ends_with_an_sae(name: str, tmp_path: Path, tokens_folder: Path, tokenizers: tuple[Any, Any]) -> None:
    causal = name not in ENCODERS
    model, tokenizer = family(name, vocab_size=304), tokenizers[name in ENCODERS]
    hook = f"blocks.1.{SITES[FAMILIES.index(name) % len(SITES)]}"  # each site on several families
    result = run_training(config(hook), tmp_path, model=model, tokenizer=tokenizer, tokens_folder=tokens_folder)
    assert (result.status, result.step) == (JobStatus.COMPLETED, 3)
    assert {"val_fvu", "val_l0", "val_mse"} <= set(result.metrics)
    assert ("ce_loss_score" in result.metrics) == causal
    assert ("no next token" in (tmp_path / "log.txt").read_text(encoding="utf-8")) != causal
    sae = load_sae(result.sae_path or "")
    lm = wrap_model(model, tokenizer)
    packings = [file.parent for file in tokens_folder.glob("*/pack.json")]
    packed = PackedTokens(next(folder for folder in packings if _is_for(folder, causal)))
    contexts = torch.from_numpy(packed.contexts(packed.validation))
    found = evaluate(sae, lm, contexts, hook, batch_size=8)
    assert found["l0"] == 4
    assert ("ce_loss_score" in found) == causal
    assert causal or not any(key.startswith(("ce_", "kl_")) for key in found)
    if name in ENCODERS:
        assert set(contexts[:, 0].tolist()) == {0}
        assert set(contexts[:, -1].tolist()) == {1}


def _is_for(folder: Path, causal: bool) -> bool:
    return PackedTokens(folder).facts.special_ids == ((0, 1) if causal else (0, 1, 300, 301))


Z = "blocks.1.attn.hook_z"


@pytest.fixture(scope="module")
def lm(tiny_tokenizer_folder: Path) -> LoadedModel:
    """Gemma 2 with four heads of 12 over two of keys, at d_model 32."""
    model = family("gemma2", vocab_size=304, head_dim=12)
    return wrap_model(model, AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def test_heads_train_together_as_they_do_alone(lm: LoadedModel, tmp_path: Path) -> None:
    configs = [config(f"{Z}.3"), config(Z), config(f"{Z}.0")]
    configs.append(config(f"{Z}.0", hook_name_out="blocks.2.attn.hook_z.1", sae=TranscoderConfig(d_sae=64)))
    tasks = [Task(each, tmp_path / str(number)) for number, each in enumerate(configs)]
    run_group(tasks, model=lm, tokens_folder=tmp_path / "tokens")
    run_group([Task(configs[0], tmp_path / "alone")], model=lm, tokens_folder=tmp_path / "tokens")
    same(sae_tensors(tmp_path / "0"), sae_tensors(tmp_path / "alone"))

    saes = [load_sae(tmp_path / str(number) / "sae") for number in range(4)]
    assert [(sae.d_in, sae.d_out, sae.cfg.reshape_activations) for sae in saes] == [
        (12, 12, "none"), (48, 48, "hook_z"), (12, 12, "none"), (12, 12, "none"),
    ]  # fmt: skip
    for number, (each, sae) in enumerate(zip(configs, saes, strict=True)):
        assert sae.metadata["hook_name"] == each.hook_name
        again = from_saelens(tmp_path / str(number) / "sae" / "cfg.json", corpus="demo", batch_size=64).config
        assert again.hook_names == each.hook_names
    written = json.loads((tmp_path / "3" / "sae" / "cfg.json").read_text())["metadata"]
    assert {key: value for key, value in written.items() if "hook" in key} == {
        "hook_name": Z, "hook_head_index": 0, "hook_name_out": "blocks.2.attn.hook_z", "hook_head_index_out": 1,
    }  # fmt: skip
