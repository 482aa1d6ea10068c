"""Hook names mean what they mean in TransformerLens: every activation of a tiny GPT-2 and Gemma 2, gains far from 1."""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from saewidgets.lm import capture, forward, hook_points, resolve_hook, spliced

GOLDEN = Path(__file__).parents[1] / "golden" / "transformer_lens"


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_every_shared_hook_name(name: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / name, attn_implementation="eager")
    expected = load_file(GOLDEN / name / "expected.safetensors")
    ids = expected.pop("ids")
    names = hook_points(model, published=True)
    assert set(names) == set(expected)
    for hook, value in capture(model, names, ids).items():
        if hook.endswith("hook_z"):
            value = resolve_hook(model, hook).as_heads(value)
        torch.testing.assert_close(value, expected[hook], rtol=1e-4, atol=1e-5, msg=lambda m, hook=hook: f"{hook}: {m}")


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_a_replaced_normalized_activation_gets_the_gain_and_bias_of_the_norm(name: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / name)
    ids = load_file(GOLDEN / name / "expected.safetensors")["ids"]
    plain = forward(model, ids).logits
    for hook in ("blocks.0.ln2.hook_normalized", "blocks.1.hook_resid_mid"):
        with spliced(model, hook, torch.clone):
            torch.testing.assert_close(forward(model, ids).logits, plain, rtol=1e-4, atol=1e-4)
    doubled = "blocks.0.ln2.hook_normalized"
    block = resolve_hook(model, doubled)
    norm, read = block.module, capture(model, [doubled], ids)[doubled]
    gain = norm.weight if name == "gpt2" else 1 + norm.weight
    bias = getattr(norm, "bias", torch.zeros(()))
    with spliced(model, doubled, lambda x: 2 * x):
        entered = capture(model, ["blocks.0.mlp.hook_in"], ids)["blocks.0.mlp.hook_in"]
    torch.testing.assert_close(entered, 2 * read * gain + bias, rtol=1e-4, atol=1e-4)
