"""One head of attention as a hook point: it is the model's own head, and what is put there leaves the others alone."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from saewidgets.config import CaptureConfig, TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.lm import HookError, capture, forward, hooked, resolve_hook, spliced
from saewidgets.lm.model_config import heads_width
from saewidgets.lm.model_info import ModelFacts
from tests.lm.models import FAMILIES, build, family, token_ids

Z = "blocks.1.attn.hook_z"
HEADS = [f"{Z}.{head}" for head in range(4)]
# A head is 12 or 16 wide where the residual stream divided by four is 8.
SHAPES: list[tuple[str, dict[str, Any]]] = [("gemma2", {"head_dim": 16}), ("qwen3", {"head_dim": 12})]


@pytest.mark.parametrize(("name", "shape"), [*((name, {}) for name in FAMILIES), *SHAPES])
def test_replacing_a_head_leaves_the_others_alone(name: str, shape: dict[str, Any]) -> None:
    """Against a hook of the test's own on the projection, which sees the heads side by side."""
    model, ids = family(name, **shape), token_ids()
    point = resolve_hook(model, HEADS[2])
    new = torch.randn(*ids.shape, point.width, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def own(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        z = args[0].clone()
        seen.append(args[0].detach().reshape(*ids.shape, 4, -1))
        z.reshape(*ids.shape, 4, -1)[:, :, 2] = new
        return (z, *args[1:])

    handle = point.module.register_forward_pre_hook(own)
    expected = forward(model, ids).logits
    handle.remove()
    with spliced(model, HEADS[2], lambda z: new):
        assert torch.equal(forward(model, ids).logits, expected)
    assert not torch.allclose(forward(model, ids).logits, expected, atol=1e-3)
    found = capture(model, HEADS, ids)
    assert all(torch.equal(found[each], seen[0][:, :, head]) for head, each in enumerate(HEADS))


def test_an_ablated_head_is_one_whose_columns_of_the_projection_are_zero() -> None:
    model, ids = build("llama"), token_ids()
    with spliced(model, HEADS[3], torch.zeros_like):
        found = forward(model, ids).logits
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight[:, 24:] = 0
    torch.testing.assert_close(found, forward(model, ids).logits)


def test_heads_and_all_of_them_come_from_one_forward() -> None:
    model, ids, ran = build("llama"), token_ids(), []
    resolve_hook(model, Z)  # the first use runs the whole model
    model.model.layers[1].self_attn.register_forward_pre_hook(lambda *_: ran.append(1))
    later = "blocks.2.hook_resid_pre"
    found = capture(model, [HEADS[1], Z, HEADS[3], later, "blocks.0.attn.hook_z.0"], ids)
    assert len(ran) == 1
    z = found[Z].unflatten(-1, (4, 8))
    assert torch.equal(torch.stack([found[HEADS[1]], found[HEADS[3]]], 2), z[:, :, [1, 3]])
    assert found[HEADS[1]].untyped_storage().data_ptr() == found[Z].untyped_storage().data_ptr(), "no second copy"
    assert found["blocks.0.attn.hook_z.0"].untyped_storage().nbytes() == ids.numel() * 8 * 4, "of one head alone"
    assert torch.equal(found[Z], capture(model, [Z], ids)[Z])
    ran.clear()
    capture(model, [HEADS[1], Z], ids)
    model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: pytest.fail("it was computed"))
    capture(model, [HEADS[1], Z], ids)


def test_what_a_head_is_called_and_which_there_are() -> None:
    model = build("gemma2", head_dim=16)
    point = resolve_hook(model, HEADS[3])
    assert (point.name, point.width, point.head, point.place.name, point.place.width) == (HEADS[3], 16, 3, Z, 64)
    with pytest.raises(HookError, match=r"no head 4: the model has 4 heads.*0 to 3, or blocks\.1\.attn\.hook_z for"):
        resolve_hook(model, f"{Z}.4")
    for name in (f"{Z}.01", f"{Z}.-1", f"{Z}.", "blocks.1.mlp.hook_in.0"):
        with pytest.raises(HookError, match=r"is not a hook name.*attn\.hook_z\.HEAD"):
            resolve_hook(model, name)
        with pytest.raises(ConfigError, match=r"is not a hook name.*attn\.hook_z\.HEAD") as caught:
            TrainingConfig(hook_name=name)
        assert caught.value.where == "hook_name"
    with pytest.raises(HookError, match="no known heads"):
        point.as_heads(torch.zeros(1, 16))
    model.config.num_attention_heads = 5
    with pytest.raises(HookError, match="how many attention heads"):
        resolve_hook(model, HEADS[0])
    assert CaptureConfig(model="demo", hook_names=(HEADS[0], Z), tokens=100).hook_names == (HEADS[0], Z)


def test_the_width_follows_from_the_configuration() -> None:
    latent = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 12}
    config = transformers.DeepseekV2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, **latent,
        num_key_value_heads=4, moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert resolve_hook(model, Z).width == heads_width(config) == 48
    assert resolve_hook(model, HEADS[3]).width == 12
    facts = ModelFacts("a", "gemma2", 3, 32, 64, None, None, d_heads=64, n_heads=4)
    assert (facts.d_in(Z), facts.d_in(HEADS[0]), facts.d_in("blocks.1.hook_resid_post")) == (64, 16, 32)


def test_gradients_flow_through_a_head_and_around_it() -> None:
    model, ids = build("gpt2"), token_ids()
    new = torch.zeros(8, requires_grad=True)
    with hooked(resolve_hook(model, HEADS[0]), lambda z: z.detach() + new):
        model(input_ids=ids).logits.square().sum().backward()
    assert new.grad is not None
    assert new.grad.abs().sum() > 0
    weight = model.transformer.h[1].attn.c_attn.weight.grad[:, 64:]  # of the values
    assert weight[:, :8].abs().sum() == 0
    assert weight[:, 8:].abs().sum() > 0
