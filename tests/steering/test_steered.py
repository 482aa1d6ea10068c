"""A steered model: what its hooks put there, what it leaves alone, and that it never runs unsteered by accident."""

import itertools
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.lm import HookError, capture, forward
from saewidgets.sae import inference_sae
from saewidgets.steering import Steering, SteeringError, SteeringSource, choose, steered
from tests.lm.models import CONFIGS, WIDTH, build, hook_count, token_ids
from tests.steering.toys import D_SAE, HOOK, feature, toy_sae, toy_transcoder, weights

SITES = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
CLAMP = [feature(3, 6.0, "clamp"), feature(5, -2.0)]


def hidden(model: Any, ids: Tensor, name: str = HOOK) -> Tensor:
    return capture(model, [name], ids)[name]


def clamped(sae: Any, h: Tensor) -> Tensor:
    """h with CLAMP applied, in float64 and by the formulas."""
    W_enc, b_enc, W_dec, b_dec = (getattr(sae, n).double() for n in ("W_enc", "b_enc", "W_dec", "b_dec"))
    f = ((h.double() - b_dec) @ W_enc + b_enc).relu()
    return h.double() + (6.0 - f[..., 3:4]) * W_dec[3] - 2.0 * W_dec[5]


@pytest.mark.parametrize(("name", "site"), zip(CONFIGS, itertools.cycle(SITES)))
def test_every_model_and_site(name: str, site: str) -> None:
    model, ids, at = build(name), token_ids(), f"blocks.1.{site}"
    sae = toy_sae(hook_name=at)
    before = hidden(model, ids, at)
    plain = forward(model, ids).logits
    with steered(model, CLAMP, sae=sae) as steering:
        after = hidden(model, ids, at)
        logits = forward(model, ids).logits
    torch.testing.assert_close(after.double(), clamped(sae, before), rtol=0, atol=5e-5)
    assert not torch.allclose(logits, plain, atol=1e-3)
    assert torch.equal(forward(model, ids).logits, plain)
    ratio = ((after - before).norm(dim=-1) / before.norm(dim=-1)).mean()
    assert steering.change_ratio == pytest.approx(float(ratio), rel=1e-3)
    assert steering.steered_tokens == 2 * ids.numel()
    assert hook_count(model) == 0


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_later_layers_read_the_changed_state(name: str) -> None:
    model, ids, sae = build(name), token_ids(), toy_sae()
    target = clamped(sae, hidden(model, ids)).float()
    from saewidgets.lm import spliced

    with spliced(model, HOOK, lambda h: target):
        expected = forward(model, ids).logits
    with steered(model, CLAMP, sae=sae):
        found = forward(model, ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_heads(name: str) -> None:
    model, ids, at = build(name), token_ids(), "blocks.1.attn.hook_z"
    sae = inference_sae("standard", WIDTH, weights(), reshape_activations="hook_z")
    before = hidden(model, ids, at)
    with steered(model, CLAMP, sae=SteeringSource(sae, at)):
        after = hidden(model, ids, at)
    torch.testing.assert_close(after.double(), clamped(sae, before), rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_one_head_is_steered_and_the_others_keep_their_bits(name: str) -> None:
    model, ids, z = build(name), token_ids(), "blocks.1.attn.hook_z"
    one, two = (inference_sae("standard", 8, weights(seed, d_in=8)) for seed in (3, 4))
    every = inference_sae("standard", WIDTH, weights())
    saes = {"one": SteeringSource(one, f"{z}.1"), "two": SteeringSource(two, f"{z}.3"), "z": SteeringSource(every, z)}
    before = hidden(model, ids, z)
    heads = before.unflatten(-1, (4, 8))
    with steered(model, CLAMP, sae=saes["one"]) as steering:
        after = hidden(model, ids, z).unflatten(-1, (4, 8))
    torch.testing.assert_close(after[:, :, 1].double(), clamped(one, heads[:, :, 1]), rtol=0, atol=5e-5)
    assert torch.equal(after[:, :, [0, 2, 3]], heads[:, :, [0, 2, 3]])
    ratio = ((after - heads)[:, :, 1].norm(dim=-1) / heads[:, :, 1].norm(dim=-1)).mean()
    assert steering.change_ratio == pytest.approx(float(ratio), rel=1e-3)
    # Two heads and all of them at once: every change is computed from what the model put there.
    features = [(sae, f.index, f.strength, f.mode) for sae in ("z", "one", "two") for f in CLAMP]
    with steered(model, features, sae=saes):
        after = hidden(model, ids, z)
    expected = clamped(every, before).unflatten(-1, (4, 8))
    for sae, head in ((one, 1), (two, 3)):
        expected[:, :, head] += clamped(sae, heads[:, :, head]) - heads[:, :, head].double()
    torch.testing.assert_close(after.double(), expected.flatten(-2), rtol=0, atol=1e-4)
    assert hook_count(model) == 0


def test_a_transcoder_that_writes_one_head_is_steered_there() -> None:
    model, ids = build("llama"), token_ids()
    into, out = "blocks.1.hook_resid_pre", "blocks.1.attn.hook_z.2"
    sae = inference_sae("transcoder", WIDTH, weights(d_out=8))
    sae.metadata = {"hook_name": into, "hook_name_out": out}
    before = hidden(model, ids, "blocks.1.attn.hook_z")
    with steered(model, [feature(5, -2.0)], sae=sae):
        after = hidden(model, ids, "blocks.1.attn.hook_z")
    expected = torch.nn.functional.pad(-2.0 * sae.W_dec[5], (16, 8))
    torch.testing.assert_close(after, before + expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(("name", "architecture"), [("gpt2", "transcoder"), ("llama", "skip_transcoder")])
def test_a_transcoder_is_steered_at_its_output(name: str, architecture: str) -> None:
    model, ids = build(name), token_ids()
    into, out = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
    sae = toy_transcoder(into, out, architecture)
    x, before = hidden(model, ids, into), hidden(model, ids, out)
    with steered(model, CLAMP, sae=sae):
        after = hidden(model, ids, out)
        unchanged = hidden(model, ids, into)
    f = (x.double() @ sae.W_enc.double() + sae.b_enc.double()).relu()
    expected = before.double() + (6.0 - f[..., 3:4]) * sae.W_dec[3].double() - 2.0 * sae.W_dec[5].double()
    torch.testing.assert_close(after.double(), expected, rtol=0, atol=5e-5)
    assert torch.equal(unchanged, x)


NOTHING = [[], [feature(3, 0.0)], [feature(3, 0.0, "add_max", a_max=7.0), feature(4, 1.0, "scale")]]


def test_strength_0_is_the_unsteered_model_bit_for_bit() -> None:
    model, ids = build("llama").to(torch.bfloat16), token_ids()
    expected = forward(model, ids).logits
    for features in NOTHING:
        with steered(model, features, sae=toy_sae()) as steering:
            assert hook_count(model) == 0
            assert torch.equal(forward(model, ids).logits, expected)
        assert steering.changes_nothing
        assert steering.change_ratio is None


def test_tokens_that_do_not_change_keep_their_bits() -> None:
    model, ids = build("llama").to(torch.bfloat16), token_ids()
    before = hidden(model, ids)
    with steered(model, [feature(3, 5.0)], sae=toy_sae(), positions=[2]):
        after = hidden(model, ids)
    kept = [n for n in range(9) if n != 2]
    assert torch.equal(after[:, kept].view(torch.int16), before[:, kept].view(torch.int16))
    assert not torch.equal(after[:, 2], before[:, 2])


def test_ablating_every_feature_leaves_the_error_term_and_the_bias() -> None:
    model, ids, sae = build("llama"), token_ids(), toy_sae()
    h = hidden(model, ids)
    with steered(model, [feature(i, 0, "ablate") for i in range(D_SAE)], sae=sae):
        after = hidden(model, ids)
    f = sae.encode(h)
    torch.testing.assert_close(after, h - sae.decode(f) + sae.decode(torch.zeros_like(f)), rtol=0, atol=1e-5)


def test_several_saes_at_one_place_and_at_several() -> None:
    model, ids = build("gpt2"), token_ids()
    one, two, later = toy_sae(), toy_sae(seed=7), toy_sae(hook_name="blocks.2.hook_attn_out", seed=8)
    saes = {"one": one, "two": two, "later": later}
    h = hidden(model, ids)
    features = [("one", 3, 6.0, "clamp"), ("two", 4, 2.0, "clamp"), ("later", 2, 3.0, "add"), ("one", 5, -2.0, "add")]
    with steered(model, features, sae=saes) as steering:
        after = hidden(model, ids)
        attn = hidden(model, ids, "blocks.2.hook_attn_out")
    f = ((h.double() - two.b_dec.double()) @ two.W_enc.double() + two.b_enc.double()).relu()
    expected = clamped(one, h) + (2.0 - f[..., 4:5]) * two.W_dec[4].double()
    torch.testing.assert_close(after.double(), expected, rtol=0, atol=5e-5)
    with steered(model, features[:2] + features[3:], sae=saes):
        plain = hidden(model, ids, "blocks.2.hook_attn_out")
    torch.testing.assert_close(attn, plain + 3.0 * later.W_dec[2], rtol=1e-4, atol=1e-4)
    assert steering.steered_tokens == 2 * ids.numel()


def test_an_inner_block_works_on_the_output_of_the_outer_one() -> None:
    model, ids, sae = build("gpt2"), token_ids(), toy_sae()
    h = hidden(model, ids)
    with steered(model, CLAMP, sae=sae):
        with steered(model, [(8, 1.5, "add"), (3, 6.0, "clamp")], sae=sae):
            both = hidden(model, ids)
        outer = hidden(model, ids)
    first = clamped(sae, h)
    torch.testing.assert_close(outer.double(), first, rtol=0, atol=5e-5)
    f = ((first - sae.b_dec.double()) @ sae.W_enc.double() + sae.b_enc.double()).relu()
    second = first + 1.5 * sae.W_dec[8].double() + (6.0 - f[..., 3:4]) * sae.W_dec[3].double()
    torch.testing.assert_close(both.double(), second, rtol=0, atol=1e-4)
    assert torch.equal(hidden(model, ids), h)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_other_precision(dtype: torch.dtype) -> None:
    model, ids, sae = build("llama").to(dtype), token_ids(), toy_sae()
    h = hidden(model, ids)
    with steered(model, CLAMP, sae=sae), torch.autocast("cpu", dtype=torch.bfloat16):
        after = hidden(model, ids)
    assert after.dtype == dtype
    tolerance = 5e-5 if dtype is torch.float64 else 0.0
    expected = h.float() + (sae.decode(_set(sae, h)) - sae.decode(sae.encode(h)))
    atol = tolerance or 0.02 * float(expected.abs().max())
    torch.testing.assert_close(after.float(), expected, rtol=0, atol=atol)


def _set(sae: Any, h: Tensor) -> Tensor:
    f = sae.encode(h).clone()
    f[..., 3] = 6.0
    f[..., 5] -= 2.0
    return f


class _BoomError(Exception):
    pass


def test_an_error_in_the_hook_comes_out_of_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, sae = build("llama"), token_ids(), toy_sae()

    def boom(x: Tensor) -> Tensor:
        raise _BoomError

    monkeypatch.setattr(sae, "encode", boom)
    with pytest.raises(_BoomError), steered(model, CLAMP, sae=sae):
        model.generate(ids, max_new_tokens=3, do_sample=False)
    assert hook_count(model) == 0


def test_a_change_that_is_not_finite_raises() -> None:
    model, ids = build("llama").to(torch.float16), token_ids()
    with pytest.raises(SteeringError, match="not finite"), steered(model, [feature(3, 1e6)], sae=toy_sae()):
        forward(model, ids)
    assert hook_count(model) == 0


def test_generating_only_in_another_thread_is_an_error() -> None:
    """The usual pattern of a text streamer: a block around a thread that generates would steer nothing."""
    model, ids = build("gpt2"), token_ids()

    def run() -> None:
        thread = threading.Thread(target=forward, args=(model, ids))
        thread.start()
        thread.join(30)

    with pytest.raises(SteeringError, match="ran only in other threads"), steered(model, CLAMP, sae=toy_sae()):
        run()
    assert hook_count(model) == 0


def test_a_block_that_is_passed_over_is_an_error() -> None:
    model, ids = build("gpt2"), token_ids()
    kept = list(model.transformer.h)
    sae = toy_sae(hook_name="blocks.2.hook_resid_post")
    with steered(model, [feature(1, 2.0)], sae=sae):
        model.transformer.h._modules.pop("2")
        with pytest.raises(SteeringError, match=r"blocks\.2\.hook_resid_post was not reached"):
            forward(model, ids)
        model.transformer.h._modules["2"] = kept[2]
        forward(model, ids)
    assert hook_count(model) == 0


def test_a_compiled_model_is_refused() -> None:
    model = build("gpt2")
    model.transformer.h[0].compile()
    with pytest.raises(SteeringError, match="was compiled"), steered(model, CLAMP, sae=toy_sae()):
        pytest.fail("it would not be steered")


def test_gradients_flow_through_the_steered_state() -> None:
    model, ids = build("gpt2"), token_ids()
    embeddings = model.get_input_embeddings().weight
    with steered(model, [feature(3, 2.0)], sae=toy_sae()):
        model(input_ids=ids).logits.square().sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0


BAD: list[tuple[Any, str, str]] = [
    ([(24, 1.0, "add")], "There is no feature 24: the SAE has 24", "Choose one from 0 to 23"),
    ([(3, 1.0)], "units of its largest activation, which is not known", "estimate_max"),
    ([(3, 1.0, "clamp"), (3, 2.0, "add")], "listed twice", "Keep one"),
    ([(3, 1.0, "ad")], 'Mode is "ad"', "Choose add_max, add, clamp"),
    ([(3, float("nan"), "add")], "Strength is", "Enter a number"),
    ([3], "Not a feature: 3", "(index, strength)"),
    ([("other", 3, 1.0, "add")], "There is no SAE 'other'", "Use one of: one"),
    ({"index": 3}, "Expected a list of features, got dict", "Give a list"),
]


@pytest.mark.parametrize(("features", "what", "hint"), BAD)
def test_mistakes_in_features(features: Any, what: str, hint: str) -> None:
    sae: Any = {"one": toy_sae()}
    with pytest.raises((ConfigError, NotFoundError)) as caught, steered(build("gpt2"), features, sae=sae):
        pytest.fail("it was accepted")
    assert what in str(caught.value)
    assert hint in str(caught.value)


def test_mistakes_in_places() -> None:
    model, nowhere = build("gpt2"), inference_sae("standard", WIDTH, weights())
    with pytest.raises(ConfigError, match=r"does not say where it reads.*SteeringSource\(sae, hook_name"):
        Steering(model, choose([(3, 1.0, "add")], nowhere))
    with pytest.raises(HookError, match="There is no layer 9"):
        Steering(model, choose([(3, 0.0, "add")], toy_sae(hook_name="blocks.9.hook_resid_post")))
    wide = inference_sae("standard", 16, weights(d_in=16))
    with pytest.raises(ConfigError, match=r"d_in is 16, but activations at .* have width 32"):
        Steering(model, choose([(3, 1.0, "add")], SteeringSource(wide, HOOK)))
    loose = toy_transcoder("blocks.1.mlp.hook_in", "")
    with pytest.raises(ConfigError, match="transcoder does not say where its output belongs"):
        Steering(model, choose([(3, 1.0, "add")], loose))
    with pytest.raises(ConfigError, match="SAE is missing"):
        Steering(model, choose([(3, 1.0, "add")]))
    with pytest.raises(ConfigError, match="str is not an SAE"):
        Steering(model, choose([(3, 1.0, "add")], {"a": "weights"}))  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="not a transformers model"):
        Steering(torch.nn.Linear(2, 2), [])


def test_a_transcoder_that_writes_before_it_reads_is_an_error() -> None:
    model = build("gpt2")
    sae = toy_transcoder("blocks.1.mlp.hook_in", "blocks.0.hook_mlp_out")
    with pytest.raises(SteeringError, match="was reached before"), steered(model, CLAMP, sae=sae):
        forward(model, token_ids())
