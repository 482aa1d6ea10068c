"""The numbers of SAELens' own evaluation (6.54) on the same tiny model, SAEs and tokens, made by
`tools/golden_saelens_evals.py`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.evaluation import Evaluator, Subject
from saewidgets.formats import load_sae
from saewidgets.lm import LoadedModel, wrap_model
from saewidgets.lm.tokens import TokenMask

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "saelens_evals"
DATA: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
# SAELens' name → ours
ACTIVATIONS = {
    "explained_variance": "explained_variance", "explained_variance_legacy": "explained_variance_legacy", "mse": "mse",
    "cossim": "cosine", "l2_norm_in": "l2_norm_in", "l2_norm_out": "l2_norm_out", "l2_ratio": "l2_ratio",
    "relative_reconstruction_bias": "relative_reconstruction_bias", "l0": "l0", "l1": "l1",
}  # fmt: skip
MODEL = {
    "ce_loss_score": "ce_loss_score", "ce_loss_with_ablation": "ce_loss_zero", "ce_loss_with_sae": "ce_loss_sae",
    "ce_loss_without_sae": "ce_loss_clean", "kl_div_score": "kl_div_score", "kl_div_with_ablation": "kl_div_zero",
    "kl_div_with_sae": "kl_div_sae",
}  # fmt: skip


class Tokenizer:
    """Knows which token is special."""

    bos_token_id = eos_token_id = pad_token_id = unk_token_id = None
    all_special_ids = (DATA["special"],)


@pytest.fixture(scope="module")
def lm() -> LoadedModel:
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(**DATA["model"]))
    model.load_state_dict(load_file(GOLDEN / "model.safetensors"), strict=False)
    return wrap_model(model.eval(), Tokenizer())


@pytest.mark.parametrize("exclude", [False, True], ids=["all", "without_special"])
@pytest.mark.parametrize("name", DATA["cases"])
def test_the_numbers_are_saelens_own(lm: LoadedModel, name: str, exclude: bool) -> None:
    """Without special tokens, what is measured at the activations is the same, and so is the divergence with the SAE.
    Ablation is not: SAELens sets special positions to zero, too; nor is the cross-entropy: it leaves out what follows
    a special token."""
    case, sae = DATA["cases"][name], load_sae(GOLDEN / name)
    assert sae.metadata["hook_name"] == case["hook_name"]
    subject, tokens = Subject(sae, case["hook_name"]), torch.tensor(DATA["tokens"])
    ((found, density),) = Evaluator(lm).evaluate([subject], tokens, rule=TokenMask(exclude), divergence=True)
    expected = case["without_special" if exclude else "all"]
    same = ACTIVATIONS | ({"kl_div_with_sae": "kl_div_sae"} if exclude else MODEL)
    assert {theirs: found[ours] for theirs, ours in same.items()} == pytest.approx(
        {theirs: expected[theirs] for theirs in same}, rel=2e-4
    )
    assert density.tolist() == pytest.approx(expected["feature_density"], abs=1e-6)
    differs = found["kl_div_zero"] != pytest.approx(expected["kl_div_with_ablation"], rel=1e-3)
    assert differs == (exclude and name != "hook_z")  # in the last layer no other position sees them
