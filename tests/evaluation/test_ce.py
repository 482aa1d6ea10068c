"""Next-token losses against the model's own, whichever way they are computed."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from saewidgets.evaluation import CrossEntropy, ce, ce_loss_score
from saewidgets.lm import wrap_model
from tests.lm.models import CONFIGS, build, token_ids


def _reference(model: torch.nn.Module, ids: torch.Tensor, counted: torch.Tensor) -> float:
    with torch.no_grad():
        log = functional.log_softmax(model(input_ids=ids).logits.double(), dim=-1)
    losses = -log[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    return float(losses[counted[:, 1:]].sum())


@pytest.mark.parametrize("name", [*CONFIGS, "cohere", "granite"])
def test_losses_are_the_models_own(name: str) -> None:
    if name in CONFIGS:
        model = build(name)
    else:  # these scale their logits after the output layer
        import transformers as tf

        kind = tf.CohereConfig if name == "cohere" else tf.GraniteConfig
        factor = {"logit_scale": 0.25} if name == "cohere" else {"logits_scaling": 3.0}
        config = kind(**{**CONFIGS["llama"][1], **factor})
        model = tf.AutoModelForCausalLM.from_config(config).eval()
    ids = token_ids(3, 12)
    counted = torch.rand(3, 12, generator=torch.Generator().manual_seed(0)) > 0.3
    loss = CrossEntropy(wrap_model(model, object()))
    assert loss._head is not None
    total, number = loss.sums(ids, counted)
    assert total == pytest.approx(_reference(model, ids, counted), rel=1e-5)
    assert number == int(counted[:, 1:].sum())


def test_small_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = build("gpt2"), token_ids(3, 12)
    counted = torch.ones(3, 12, dtype=torch.bool)
    monkeypatch.setattr(ce, "LOGIT_BYTES", 4 * 64 * 5)  # five rows
    loss = CrossEntropy(wrap_model(model, object()))
    expected = _reference(model, ids, counted)
    assert loss.sums(ids, counted)[0] == pytest.approx(expected, rel=1e-5)
    loss._head = None  # as for a model that does more after its output layer
    assert loss.sums(ids, counted) == (pytest.approx(expected, rel=1e-5), 33)


def test_an_unknown_step_after_the_output_layer_is_noticed() -> None:
    model, ids = build("gpt2"), token_ids(3, 12)
    plain = model.forward

    def doubled(*args: object, **kwargs: object) -> object:
        out = plain(*args, **kwargs)
        out.logits = out.logits * 2
        return out

    model.forward = doubled
    counted = torch.ones(3, 12, dtype=torch.bool)
    loss = CrossEntropy(wrap_model(model, object()))
    assert loss._head is None
    assert loss.sums(ids, counted)[0] == pytest.approx(_reference(model, ids, counted), rel=1e-5)


def test_nothing_counted_is_nothing() -> None:
    loss = CrossEntropy(wrap_model(build("gpt2"), object()))
    assert loss.sums(token_ids(), torch.zeros(2, 9, dtype=torch.bool)) == (0.0, 0)


def test_the_score() -> None:
    assert ce_loss_score(clean=2, sae=2, zero=6) == 1
    assert ce_loss_score(clean=2, sae=6, zero=6) == 0
    assert ce_loss_score(clean=2, sae=3, zero=6) == 0.75
    assert math.isnan(ce_loss_score(clean=2, sae=2, zero=2))
