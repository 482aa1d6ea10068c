"""Next-token losses against the model's own, alone and for several SAEs together."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer

from saewidgets.evaluation import CrossEntropy, ce, ce_loss_score, evaluate
from saewidgets.evaluation.evaluate import Baseline, Evaluator, Subject
from saewidgets.events import Interruption, Request
from saewidgets.lm import LoadedModel, wrap_model
from saewidgets.sae import SAE, create_sae, inference_sae
from saewidgets.sae.scaler import Scaler
from tests.lm.models import CONFIGS, WIDTH, build, family, token_ids
from tests.training.fakes import Scripted


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


VOCAB = 304


@pytest.fixture
def lm(tiny_tokenizer_folder: Path) -> LoadedModel:
    return wrap_model(family("gpt2", vocab_size=VOCAB), AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def _sae(seed: int, name: str = "topk", **settings: Any) -> SAE:
    sae = create_sae(name, d_in=WIDTH, d_sae=48, **({"k": 5} if name == "topk" else settings))
    sae.reset_parameters(torch.Generator().manual_seed(seed))
    return sae


def _transcoder(seed: int) -> SAE:
    return inference_sae("transcoder", WIDTH, _sae(seed, "standard").inference_tensors())


@pytest.fixture
def subjects() -> list[Subject]:
    """Several places, the same place twice, the first and the last of the model, a transcoder over three blocks."""
    return [
        Subject(_sae(1), "blocks.0.hook_resid_pre"),
        Subject(_sae(2), "blocks.1.hook_resid_post", scaler=Scaler(1.7)),
        Subject(_sae(3, "jumprelu"), "blocks.1.hook_resid_post"),
        Subject(_sae(4), "blocks.1.hook_mlp_out"),
        Subject(_transcoder(5), "blocks.0.mlp.hook_in", "blocks.2.hook_mlp_out", scaler=Scaler(0.5, 2.0)),
        Subject(_sae(6), "blocks.2.hook_resid_post"),
    ]


def _ids(rows: int = 5) -> Tensor:
    ids = torch.randint(2, VOCAB, (rows, 12), generator=torch.Generator().manual_seed(9))
    ids[:, 0] = 0
    return ids


def _alone(each: Subject, lm: LoadedModel, ids: Tensor, **settings: Any) -> dict[str, float]:
    return evaluate(
        each.sae, lm, ids, each.hook_name, hook_name_out=each.hook_name_out, scaler=each.scaler,
        baseline=each.baseline, **settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{}, {"divergence": True, "mean_ablation": True}, {"cross_entropy": False}, {"mean_ablation": True}]
)
def test_each_has_the_bits_that_it_has_alone(
    lm: LoadedModel, subjects: list[Subject], settings: dict[str, Any]
) -> None:
    ids = _ids()
    alone = [_alone(each, lm, ids, batch_size=2, **settings) for each in subjects]
    found = Evaluator(lm).evaluate(subjects, ids, batch_size=2, **settings)
    assert [metrics for metrics, _ in found] == alone
    assert all(density.shape == (48,) for _, density in found)
    known = [replace(s, baseline=Baseline.of(metrics)) for s, metrics in zip(subjects, alone, strict=True)]
    again = [metrics for metrics, _ in Evaluator(lm).evaluate(known, ids, batch_size=2, **settings)]
    assert again == alone
    assert [_alone(each, lm, ids, batch_size=2, **settings) for each in known] == alone
    for room in (1 << 14, 1 << 24):  # for some of the forwards, for all
        keeping = Evaluator(lm, room)
        for some in (subjects, known, known[:1]):
            again = [metrics for metrics, _ in keeping.evaluate(some, ids, batch_size=2, **settings)]
            assert again == alone[: len(some)]
    some = [known[0], subjects[1], known[3]]  # of others the baseline is still to be measured
    assert [m for m, _ in Evaluator(lm).evaluate(some, ids, batch_size=2, **settings)] == [alone[n] for n in (0, 1, 3)]


def test_a_model_that_cannot_be_resumed_gives_the_same(
    lm: LoadedModel, subjects: list[Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _ids()
    expected = Evaluator(lm).evaluate(subjects, ids, batch_size=2, divergence=True, mean_ablation=True)
    baselines = [Baseline.of(metrics) for metrics, _ in expected]
    monkeypatch.setattr(sys.modules["saewidgets.evaluation.evaluate"], "resumable", lambda model, point: False)
    found = Evaluator(lm).evaluate(subjects, ids, batch_size=2, divergence=True, mean_ablation=True)
    assert [metrics for metrics, _ in found] == [metrics for metrics, _ in expected]
    known = [replace(s, baseline=b) for s, b in zip(subjects, baselines, strict=True)]
    for (metrics, _), (full, _) in zip(Evaluator(lm).evaluate(known, ids, batch_size=2), expected, strict=True):
        assert metrics == {name: full[name] for name in metrics}


def test_shared_forwards_are_computed_once(lm: LoadedModel) -> None:
    """Blocks that ran, of the three, in one batch: a whole forward, zeros at two places and three SAEs behind them."""
    ran: list[int] = []
    blocks: Any = lm.model.transformer.h  # type: ignore[union-attr]
    for number, block in enumerate(blocks):
        block.attn.register_forward_pre_hook(lambda m, a, number=number: ran.append(number))
    layers = [Subject(_sae(n), f"blocks.{layer}.hook_resid_post") for n, layer in enumerate((0, 1, 1))]

    evaluator = Evaluator(lm)
    evaluator.evaluate(layers, _ids(1))  # it tries how the model can be run

    def blocks_of(some: list[Subject]) -> list[int]:
        ran.clear()
        evaluator.evaluate(some, _ids(1))
        return ran

    assert blocks_of(layers) == [0, 1, 2, 1, 2, 2, 1, 2, 2, 2]
    known = [replace(each, baseline=Baseline(1.0, 2.0)) for each in layers]
    assert blocks_of(known) == [0, 1, 1, 2, 2, 2]  # left behind the deepest place
    assert blocks_of(known[:1]) == [0, 1, 2]  # one by itself: within one forward
    evaluator = Evaluator(lm, 1 << 20)
    blocks_of(layers)
    assert blocks_of(known) == [1, 2, 2, 2]
    blocks_of(known[1:])
    assert blocks_of(known[1:]) == [2, 2]


def test_it_can_be_ended_between_forwards_and_leaves_nothing(lm: LoadedModel, subjects: list[Subject]) -> None:
    before = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in lm.model.modules()]
    control = Scripted()
    Evaluator(lm).evaluate(subjects, _ids(), batch_size=2, check=control.check)
    assert control.calls == 3 * (1 + 5 + 6)  # batches × (the model by itself, zeros at five places, six SAEs)
    for at in range(1, control.calls + 1, 5):
        check = Scripted(Request.PAUSE, at).check
        for each in subjects:
            each.sae.train()
        with pytest.raises(Interruption):
            Evaluator(lm).evaluate(subjects, _ids(), batch_size=2, check=check)
        assert all(each.sae.training for each in subjects)
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in lm.model.modules()] == before
    assert not any("forward" in m.__dict__ for m in lm.model.modules())
