"""Reading and replacing activations at every hook point, and leaving nothing behind."""

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.lm import (
    HookError,
    capture,
    evaluating,
    find_blocks,
    forward,
    hook_points,
    hooked,
    resolve_hook,
    spliced,
)
from tests.lm.models import FAMILIES, LAYERS, WIDTH, build, family, hook_count, token_ids

SITES = ("resid_pre", "attn_out", "mlp_out", "resid_post")


class _Calls(list[str]):
    """Names of the modules that ran, in order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda m, a, name=name: self.append(name))


@pytest.mark.parametrize("site", SITES)
def test_later_layers_are_never_computed(site: str) -> None:
    model = build("gpt2")
    hook_points(model)  # the first use runs the whole model
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
def test_a_block_reads_its_spliced_input(name: str) -> None:
    model, ids = build(name), token_ids()
    other = token_ids(seed=5)
    target = capture(model, ["blocks.1.hook_resid_pre"], other)["blocks.1.hook_resid_pre"]
    with spliced(model, "blocks.1.hook_resid_pre", lambda x: target):
        found = forward(model, ids).logits
    torch.testing.assert_close(found, forward(model, other).logits)


class _BoomError(Exception):
    pass


@pytest.mark.parametrize("site", SITES)
def test_hooks_are_gone_after_any_end(site: str) -> None:
    model, ids = build("gpt2"), token_ids()
    before = hook_count(model)
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
    assert hook_count(model) == before == 0
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


class Returning(nn.Module):
    """A block that returns what `make` makes of the hidden states."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, hidden_states: Tensor) -> Any:
        return self.make(hidden_states)


def test_lists_keep_their_other_entries_and_outputs_need_a_tensor() -> None:
    point = resolve_hook(build("gpt2"), "blocks.0.hook_resid_post")
    pair, odd = Returning(lambda x: [x + 1, "kept"]), Returning(lambda x: {"states": x})
    with hooked(replace(point, module=pair, block=pair), lambda x: x * 10):
        out = pair(torch.ones(1, 2, 3))
    assert out[1] == "kept"
    assert torch.equal(out[0], torch.full((1, 2, 3), 20.0))
    point = replace(point, module=odd, block=odd)
    with pytest.raises(SAEWidgetsError, match="returned dict where a tensor"), hooked(point, lambda x: None):
        odd(torch.ones(1, 2, 3))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_architecture_lists_four_sites_per_layer(name: str) -> None:
    model = family(name)
    names = hook_points(model)
    assert len(names) == 4 * LAYERS
    assert names[:4] == [f"blocks.0.hook_{s}" for s in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    assert resolve_hook(model, names[-1]).width == WIDTH


def test_the_layer_range_is_named() -> None:
    with pytest.raises(HookError, match=r"no layer 7: the model has 3 layers.*from 0 to 2") as caught:
        resolve_hook(build("gpt2"), "blocks.7.hook_resid_post")
    assert isinstance(caught.value, NotFoundError)
    assert caught.value.where == "hook_name"


@pytest.mark.parametrize(
    "name", ["", "transformer.h.1", "blocks.1.hook_z", "blocks.-1.hook_resid_post", "blocks.1.hook_mlp_out\n"]
)
def test_a_malformed_name_lists_the_sites(name: str) -> None:
    with pytest.raises(HookError, match=r"resid_pre, attn_out, mlp_out, resid_post and LAYER from 0 to 2"):
        resolve_hook(build("gpt2"), name)


def test_a_site_the_block_does_not_have_is_refused() -> None:
    why = "hook_resid_mid is not known for GPTJBlock: attention and MLP read the same residual stream"
    with pytest.raises(HookError, match=f"{why}.*hook_attn_out"):
        resolve_hook(build("gptj"), "blocks.0.hook_resid_mid")


def test_a_model_that_does_not_run_is_refused() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(num_hidden_layers=2, hidden_size=2, vocab_size=9, is_encoder_decoder=False)
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    with pytest.raises(HookError, match="Model does not run on 12 token ids"):
        resolve_hook(Model(), "blocks.0.hook_attn_out")


@pytest.mark.parametrize(
    ("both", "message"), [(False, "No list of 2 transformer blocks was found in Linear"), (True, "decoder-only")]
)
def test_a_model_without_blocks_or_with_two_stacks_is_refused(both: bool, message: str) -> None:
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(num_hidden_layers=2, is_encoder_decoder=both)  # type: ignore[assignment]
    with pytest.raises(HookError, match=message):
        find_blocks(model)


def test_layers_that_share_their_weights_are_refused() -> None:
    from transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(
        vocab_size=9, hidden_size=8, embedding_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8
    )
    with pytest.raises(HookError, match="No list of 3 transformer blocks was found in AlbertModel"):
        find_blocks(AlbertModel(config))


def captured(model: Any, *names: str) -> list[Tensor]:
    found = capture(model, list(names), token_ids())
    return [found[name] for name in names]


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_are_those_of_the_table_and_gemmas_are_scaled(name: str) -> None:
    model = family(name)
    expected = model.get_input_embeddings().weight[token_ids()].detach()
    if name.startswith("gemma"):
        expected = expected * torch.tensor(WIDTH**0.5)
    torch.testing.assert_close(captured(model, "hook_embed")[0], expected)
    point = resolve_hook(model, "hook_embed")
    assert (point.width, point.layer) == (WIDTH, 0)


@pytest.mark.parametrize("name", ["gemma", "gemma2"])
def test_embeddings_that_transformers_scales_later_are_read_later(name: str) -> None:
    model = build(name)
    expected = captured(model, "hook_embed")[0]
    del model.model.embed_tokens.embed_scale  # as in transformers 4, whose models scale in their own forward
    point = resolve_hook(model, "hook_embed")
    assert point.kind == "input"
    assert point.module is model.model.layers[0]
    assert expected.shape[-1] == point.width


@pytest.mark.parametrize("name", FAMILIES)
def test_splicing_the_activation_itself_changes_nothing_and_zeros_do(name: str) -> None:
    model, ids = family(name), token_ids()
    expected = forward(model, ids).logits
    seen: list[torch.Size] = []

    def same(x: Tensor) -> Tensor:
        seen.append(x.shape[:2])
        return x.clone()

    every = [name for name in hook_points(model, published=True) if not name.startswith(("blocks.0", "blocks.2"))]
    for hook in every:
        with spliced(model, hook, same):
            torch.testing.assert_close(forward(model, ids).logits, expected)
        with spliced(model, hook, torch.zeros_like):
            assert not torch.allclose(forward(model, ids).logits, expected, atol=1e-3), hook
    assert seen == [ids.shape] * len(every)


def test_autocast_around_it_does_not_reach_the_model() -> None:
    model, ids = build("gpt2"), token_ids()
    expected = capture(model, ["blocks.1.hook_resid_post"], ids)["blocks.1.hook_resid_post"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = capture(model, ["blocks.1.hook_resid_post"], ids)["blocks.1.hook_resid_post"]
    assert torch.equal(found, expected)


def test_modules_that_were_replaced_are_found_again() -> None:
    """As an adapter wraps a layer: the module of the site has another place afterwards."""

    class Wrapped(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.inner(*args, **kwargs)

    model, name = build("gpt2"), "blocks.1.attn.hook_z"
    block = find_blocks(model)[1]
    projection = block.get_submodule("attn.c_proj")
    assert resolve_hook(model, name).module is projection
    block.attn = Wrapped(block.get_submodule("attn"))
    assert resolve_hook(model, name).module is projection
