"""`evaluate` against a computation that shares no code with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from saewidgets.errors import ConfigError
from saewidgets.evaluation import Baseline, Evaluator, Subject, evaluate
from saewidgets.lm import LoadedModel, load_model
from saewidgets.sae import SAE, create_sae, inference_sae
from saewidgets.sae.scaler import Scaler
from tests.evaluation.test_metrics import numbers
from tests.lm.models import hook_count

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def lm(tiny_model_folder: Path) -> LoadedModel:
    lm = load_model(str(tiny_model_folder))
    with torch.no_grad():  # so that it matters what flows through it
        for parameter in lm.model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    return lm


@pytest.fixture(scope="module")
def contexts() -> Tensor:
    ids = torch.randint(2, 300, (7, 12), generator=torch.Generator().manual_seed(3))
    ids[:, 0] = 0
    ids[2, 5] = ids[4, 1] = ids[6, 11] = 1
    return ids


def _sae(name: str = "topk", **settings: Any) -> SAE:
    sae = create_sae(name, d_in=32, d_sae=64, **({"k": 5} if "topk" in name else {}), **settings)
    generator = torch.Generator().manual_seed(0)
    sae.reset_parameters(generator)
    with torch.no_grad():
        sae.b_dec.normal_(0, 0.3, generator=generator)
    return sae


def _expected(
    lm: LoadedModel, sae: SAE, contexts: Tensor, scale: float = 1.0, exclude: bool = True, batch_size: int = 16,
    ids: tuple[int, ...] = (), chosen: slice = slice(None),
) -> dict[str, float]:
    """Everything at once and in float64, with hooks of the test's own: on block 0, for a transcoder on the MLP of 1."""
    model: Any = lm.model
    module = model.transformer.h[1].mlp if sae.is_transcoder else model.transformer.h[0]
    caught: dict[str, Tensor] = {}
    unwanted = torch.isin(contexts, torch.tensor([*((0, 1) if exclude else ()), *ids]))
    outside = torch.ones_like(unwanted)
    outside[:, chosen] = False
    special = unwanted | outside  # what is left alone
    uncounted = unwanted[:, 1:] | outside[:, :-1]  # predictions of what is left out, or made elsewhere

    def ce(value: Tensor | None = None) -> tuple[float, Tensor]:
        def own(module: Any, args: Any, out: Any) -> Any:
            states, *more = out if isinstance(out, tuple) else (out,)
            caught.update(read=args[0], written=states)
            new = states if value is None else torch.where(special[..., None], states, value)
            return (new, *more) if isinstance(out, tuple) else new

        handle = module.register_forward_hook(own)
        logits = model(input_ids=contexts).logits.double()
        handle.remove()
        losses = functional.cross_entropy(logits[:, :-1].transpose(1, 2), contexts[:, 1:], reduction="none")
        return float(losses[~uncounted].mean()), logits.log_softmax(-1)

    with torch.no_grad():
        clean = ce()
        written = caught["written"]
        read = caught["read"] if sae.is_transcoder else written
        latents = sae.encode(read * scale)
        hat = sae.decode(latents, read * scale) / scale
        spliced, zero, mean = ce(hat), ce(torch.zeros_like(written)), ce(written[~special].mean(0))

    def kl(other: tuple[float, Tensor]) -> float:
        each = (clean[1].exp() * (clean[1] - other[1])).sum(-1)
        return float(each[~special].mean())

    x, h, f = (a[~special].double().numpy() for a in (written, hat, latents))
    return numbers(x, h, f) | {
        "explained_variance_legacy": 1 - _legacy(written, hat, special, batch_size),
        "ce_tokens": int((~uncounted).sum()),
        "ce_loss_clean": clean[0],
        "ce_loss_sae": spliced[0],
        "ce_loss_zero": zero[0],
        "ce_loss_delta": spliced[0] - clean[0],
        "ce_loss_score": (zero[0] - spliced[0]) / (zero[0] - clean[0]),
        "ce_loss_mean": mean[0],
        "ce_loss_score_mean_ablation": (mean[0] - spliced[0]) / (mean[0] - clean[0]),
        "kl_div_sae": kl(spliced),
        "kl_div_zero": kl(zero),
        "kl_div_score": (kl(zero) - kl(spliced)) / kl(zero),
    }


def _legacy(written: Tensor, hat: Tensor, special: Tensor, batch_size: int) -> float:
    ratios = []
    for x, h, no in zip(*(each.split(batch_size) for each in (written, hat, special)), strict=True):
        x, h = x[~no].double(), h[~no].double()
        ratios.append((x - h).square().sum(1) / (x - x.mean(0)).square().sum(1))
    return float(torch.cat(ratios).mean())


ALL = slice(None)


@pytest.mark.parametrize(
    ("exclude", "batch_size", "scale", "ids", "chosen"),
    [
        (True, 3, 1.0, (), ALL), (True, 1, 2.5, (), ALL), (False, 3, 2.5, (), ALL), (False, 100, 1.0, (), ALL),
        (True, 3, 1.0, (), slice(2, -2)), (True, 3, 1.0, (), slice(None, None, 3)),
        (True, 3, 1.0, (7, 9, 30), ALL), (True, 3, 1.0, (7, 9, 30), slice(4, None, 2)),
    ],
)  # fmt: skip
def test_all_numbers(
    lm: LoadedModel, contexts: Tensor, exclude: bool, batch_size: int, scale: float, ids: tuple[int, ...],
    chosen: slice,
) -> None:  # fmt: skip
    sae = _sae()
    settings: dict[str, Any] = {
        "scaler": Scaler(scale), "exclude_special_tokens": exclude, "batch_size": batch_size, "exclude_token_ids": ids,
        "seqpos_slice": None if chosen == ALL else (chosen.start, chosen.stop, chosen.step or 1),
    }  # fmt: skip
    found = evaluate(sae, lm, contexts, HOOK, divergence=True, mean_ablation=True, **settings)
    expected = _expected(lm, sae, contexts, scale, exclude, batch_size, ids, chosen)
    assert found == pytest.approx(expected, rel=1e-4)
    assert abs(expected["ce_loss_zero"] - expected["ce_loss_clean"]) > 1e-3
    assert abs(expected["ce_loss_score"] - expected["ce_loss_score_mean_ablation"]) > 1e-3
    fewer = evaluate(sae, lm, contexts, HOOK, **settings)
    assert not any(name.startswith("kl_") or "mean" in name for name in fewer)
    assert fewer == pytest.approx({name: expected[name] for name in fewer}, rel=1e-4)
    assert evaluate(sae, lm, contexts, HOOK, baseline=Baseline.of(found), **settings) == fewer


@pytest.mark.parametrize(
    ("name", "settings"),
    [("abstopk", {"k": 5}), ("standard", {"normalize_activations": "layer_norm"}), ("jumprelu", {"threshold": 0.2})],
)
def test_all_numbers_of_saes_of_others(lm: LoadedModel, contexts: Tensor, name: str, settings: dict[str, Any]) -> None:
    tensors = dict(_sae("standard").inference_tensors())
    if threshold := settings.pop("threshold", None):
        tensors["threshold"] = torch.full((64,), threshold)
    sae = inference_sae(name, 32, tensors, **settings)
    found = evaluate(sae, lm, contexts, HOOK, divergence=True, mean_ablation=True)
    assert found == pytest.approx(_expected(lm, sae, contexts), rel=1e-4)


def test_the_cross_entropy_of_some_contexts_beside_the_reconstruction_of_all(lm: LoadedModel, contexts: Tensor) -> None:
    whole, first = (evaluate(_sae(), lm, each, HOOK, batch_size=2) for each in (contexts, contexts[:2]))
    for known in (None, Baseline.of(first)):
        subject = Subject(_sae(), HOOK, baseline=known)
        found, density = Evaluator(lm).evaluate([subject], contexts, batch_size=2, ce_contexts=2)[0]
        for name, value in found.items():
            expected = first if name.startswith("ce_") else whole
            assert value == pytest.approx(expected[name], rel=1e-5), name
        assert found["ce_tokens"] < found["n_tokens"] == whole["n_tokens"]
        assert float(density.sum()) == pytest.approx(whole["l0"])


@pytest.mark.parametrize("name", ["topk", "standard"])
def test_a_batch_without_a_token_that_counts_does_no_harm(lm: LoadedModel, contexts: Tensor, name: str) -> None:
    sae, skipped = _sae(name), torch.full((2, 12), 7)
    given = torch.cat([contexts[:2], skipped, contexts[2:]])
    found = evaluate(sae, lm, given, HOOK, batch_size=2, exclude_token_ids=[7])
    assert found == pytest.approx(evaluate(sae, lm, contexts, HOOK, batch_size=2, exclude_token_ids=[7]))


def test_places_that_do_not_fit(lm: LoadedModel, contexts: Tensor) -> None:
    transcoder = inference_sae("transcoder", 32, _sae("standard").inference_tensors())
    with pytest.raises(ConfigError, match="a different place") as caught:
        evaluate(transcoder, lm, contexts, HOOK)
    assert caught.value.where == "hook_name_out"
    with pytest.raises(ConfigError, match=r"computes blocks\.0\.hook_resid_pre before blocks\.1") as caught:
        evaluate(transcoder, lm, contexts, "blocks.1.hook_resid_pre", hook_name_out="blocks.0.hook_resid_pre")
    assert caught.value.where == "hook_name_out"
    with pytest.raises(ConfigError, match="A topk SAE reconstructs what it reads"):
        evaluate(_sae(), lm, contexts, HOOK, hook_name_out="blocks.1.hook_mlp_out")
    assert evaluate(_sae(), lm, contexts, HOOK, hook_name_out=HOOK)["fvu"] >= 0


@pytest.mark.parametrize("name", ["transcoder", "skip_transcoder"])
def test_a_transcoder_is_compared_and_spliced_where_it_writes(lm: LoadedModel, contexts: Tensor, name: str) -> None:
    """Reads what enters the MLP of block 1, and stands for that MLP."""
    tensors = dict(_sae("standard").inference_tensors())
    if name == "skip_transcoder":
        tensors["W_skip"] = torch.eye(32) * 0.3
    sae = inference_sae(name, 32, tensors)
    hooks: dict[str, str] = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    found = evaluate(sae, lm, contexts, divergence=True, mean_ablation=True, **hooks)
    assert found == pytest.approx(_expected(lm, sae, contexts), rel=1e-4)
    without = evaluate(sae, lm, contexts, cross_entropy=False, **hooks)
    assert without == pytest.approx({key: found[key] for key in without}, rel=1e-5)
    sae.fold_scales(2.0, 0.5)
    scaled = evaluate(sae, lm, contexts, scaler=Scaler(0.5, 2.0), divergence=True, mean_ablation=True, **hooks)
    assert scaled == pytest.approx(found | {"l1": scaled["l1"]}, rel=1e-4)


def test_model_and_sae_are_left_as_they_were(lm: LoadedModel, contexts: Tensor) -> None:
    sae = _sae("batchtopk").train()
    before = hook_count(lm.model)
    lm.model.train()
    try:
        first = evaluate(sae, lm, contexts, HOOK)
        assert sae.training
        assert lm.model.training
        assert first == evaluate(sae, lm, contexts, HOOK)
    finally:
        lm.model.eval()
    assert hook_count(lm.model) == before
    assert all(p.grad is None for p in sae.parameters())


def test_without_cross_entropy_later_layers_are_not_run(lm: LoadedModel, contexts: Tensor) -> None:
    sae = _sae()
    ran: list[int] = []
    handle = lm.model.transformer.h[1].register_forward_pre_hook(lambda m, a: ran.append(1))  # type: ignore[union-attr,index]
    calls: list[int] = []
    found = evaluate(sae, lm, contexts, HOOK, cross_entropy=False, batch_size=3, check=lambda: calls.append(1))
    handle.remove()
    assert ran == []
    assert len(calls) == 3
    assert not any(name.startswith("ce_") for name in found)
    full = evaluate(sae, lm, contexts, HOOK, batch_size=3)
    assert {k: full[k] for k in found} == pytest.approx(found, rel=1e-5)
