"""Reading and replacing activations, and leaving nothing behind."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saewidgets.errors import SAEWidgetsError
from saewidgets.lm import HookError, capture, evaluating, forward, hooked, resolve_hook, spliced
from tests.lm.models import FAMILIES, build, family, token_ids

SITES = ("resid_pre", "attn_out", "mlp_out", "resid_post")


def _hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class _Calls(list[str]):
    """Names of the modules that ran, in order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda m, a, name=name: self.append(name))


@pytest.mark.parametrize("site", SITES)
def test_later_layers_are_never_computed(site: str) -> None:
    model = build("gpt2")
    calls = _Calls(model)
    capture(model, [f"blocks.1.hook_{site}"], token_ids())
    assert "transformer.h.0.mlp" in calls
    assert not any(name.startswith("transformer.h.2") or name == "lm_head" for name in calls)
    assert ("transformer.h.1.mlp" in calls) == (site in ("mlp_out", "resid_post"))
    assert ("transformer.h.1.attn" in calls) == (site != "resid_pre")


def test_without_stopping_early_the_model_runs_to_its_end() -> None:
    model = build("gpt2")
    calls = _Calls(model)
    found = capture(model, ["blocks.0.hook_resid_post"], token_ids(), stop_early=False)
    assert "lm_head" in calls
    assert torch.equal(
        found["blocks.0.hook_resid_post"],
        capture(model, ["blocks.0.hook_resid_post"], token_ids())["blocks.0.hook_resid_post"],
    )


def test_a_value_is_kept_from_before_later_in_place_operations() -> None:
    model, ids = build("falcon"), token_ids()  # its MLP output is overwritten by the sum with attention
    alone = capture(model, ["blocks.0.hook_mlp_out"], ids)["blocks.0.hook_mlp_out"]
    together = capture(model, ["blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"], ids)["blocks.0.hook_mlp_out"]
    assert torch.equal(alone, together)


def test_padding_is_masked() -> None:
    model, ids = build("llama"), token_ids(1, 6)
    plain = capture(model, ["blocks.1.hook_resid_post"], ids)["blocks.1.hook_resid_post"]
    padded = torch.cat([torch.ones(1, 3, dtype=torch.long), ids], dim=1)
    mask = torch.tensor([[0, 0, 0] + [1] * 6])
    found = capture(model, ["blocks.1.hook_resid_post"], padded, attention_mask=mask)["blocks.1.hook_resid_post"]
    torch.testing.assert_close(found[:, 3:], plain, rtol=1e-4, atol=1e-5)  # rotary positions are relative


@pytest.mark.parametrize("name", FAMILIES)
def test_splicing_the_activation_itself_changes_nothing(name: str) -> None:
    model, ids = family(name), token_ids()
    expected = forward(model, ids).logits
    seen: list[torch.Size] = []

    def same(x: Tensor) -> Tensor:
        seen.append(x.shape)
        return x.clone()

    for site in SITES:
        with spliced(model, f"blocks.1.hook_{site}", same):
            torch.testing.assert_close(forward(model, ids).logits, expected)
    assert seen == [(2, 9, 32)] * len(SITES)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "gemma2", "opt"])
@pytest.mark.parametrize("site", ["attn_out", "mlp_out"])
def test_zeroing_a_sublayer_leaves_the_others_sum(name: str, site: str) -> None:
    model, ids = build(name), token_ids()
    other = "mlp_out" if site == "attn_out" else "attn_out"
    at = "blocks.1.hook_"
    with spliced(model, at + site, torch.zeros_like):
        found = capture(model, [at + "resid_pre", at + other, at + "resid_post"], ids)
    torch.testing.assert_close(
        found[at + "resid_post"], found[at + "resid_pre"] + found[at + other], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "opt"])
def test_a_spliced_input_is_what_the_block_reads(name: str) -> None:
    model, ids = build(name), token_ids()
    other = token_ids(seed=5)
    target = capture(model, ["blocks.1.hook_resid_pre"], other)["blocks.1.hook_resid_pre"]
    with spliced(model, "blocks.1.hook_resid_pre", lambda x: target):
        found = forward(model, ids).logits
    torch.testing.assert_close(found, forward(model, other).logits)


def test_gradients_flow_through_a_splice() -> None:
    model, ids = build("gpt2"), token_ids()
    shift = torch.zeros(32, requires_grad=True)
    with spliced(model, "blocks.1.hook_resid_post", lambda x: x + shift):
        model(input_ids=ids).logits.square().sum().backward()
    assert shift.grad is not None
    assert shift.grad.abs().sum() > 0


class _BoomError(Exception):
    pass


@pytest.mark.parametrize("site", SITES)
def test_hooks_are_gone_after_any_end(site: str) -> None:
    model, ids = build("gpt2"), token_ids()
    before = _hook_count(model)
    name = f"blocks.1.hook_{site}"

    def boom(x: Tensor) -> Tensor:
        raise _BoomError

    capture(model, [name], ids)
    capture(model, [name], ids, stop_early=False)
    with pytest.raises(_BoomError), spliced(model, name, boom):
        forward(model, ids)
    with pytest.raises(IndexError):
        capture(model, [name], ids + 10**6)
    with pytest.raises(HookError):
        capture(model, [name, "blocks.9.hook_resid_post"], ids)
    with pytest.raises(KeyboardInterrupt), spliced(model, name, lambda x: x):
        raise KeyboardInterrupt
    assert _hook_count(model) == before == 0
    assert forward(model, ids).logits.shape == (2, 9, 64)


def test_the_mode_of_every_module_is_restored() -> None:
    model, ids = build("gpt2", resid_pdrop=0.5, attn_pdrop=0.5, embd_pdrop=0.5), token_ids()
    expected = capture(model, ["blocks.1.hook_resid_post"], ids)["blocks.1.hook_resid_post"]
    model.train()
    model.transformer.h[0].eval()
    modes = [m.training for m in model.modules()]
    assert torch.equal(capture(model, ["blocks.1.hook_resid_post"], ids)["blocks.1.hook_resid_post"], expected)
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    with pytest.raises(_BoomError), evaluating(model):
        raise _BoomError
    assert [m.training for m in model.modules()] == modes


def test_forwards_of_other_threads_are_not_touched() -> None:
    model, ids = build("gpt2"), token_ids()
    expected = forward(model, ids).logits
    inside, done = threading.Event(), threading.Event()
    found: list[Tensor] = []

    def user() -> None:
        inside.wait(30)
        try:
            found.append(forward(model, ids).logits)
        finally:
            done.set()

    thread = threading.Thread(target=user)
    thread.start()

    def zero(x: Tensor) -> Tensor:
        inside.set()
        done.wait(30)
        return x * 0

    with spliced(model, "blocks.0.hook_resid_post", zero):
        changed = forward(model, ids).logits
    thread.join(30)
    assert torch.equal(found[0], expected)
    assert not torch.allclose(changed, expected)


def test_tuples_and_lists_keep_their_other_entries() -> None:
    class Pair(nn.Module):
        def forward(self, hidden_states: Tensor) -> Any:
            return [hidden_states + 1, "kept"]

    model = build("gpt2")
    point = resolve_hook(model, "blocks.0.hook_resid_post")
    pair = Pair()
    from dataclasses import replace

    with hooked(replace(point, module=pair, block=pair), lambda x: x * 10):
        out = pair(torch.ones(1, 2, 3))
    assert out[1] == "kept"
    assert torch.equal(out[0], torch.full((1, 2, 3), 20.0))


def test_a_block_that_returns_no_tensor_is_an_error_of_ours() -> None:
    class Odd(nn.Module):
        def forward(self, hidden_states: Tensor) -> Any:
            return {"states": hidden_states}

    from dataclasses import replace

    odd = Odd()
    point = replace(resolve_hook(build("gpt2"), "blocks.0.hook_resid_post"), module=odd, block=odd)
    with pytest.raises(SAEWidgetsError, match="returned dict where a tensor"), hooked(point, lambda x: None):
        odd(torch.ones(1, 2, 3))
