"""Baseline and steered text side by side, the changed hidden state by its formulas, the largest activation."""

import copy
import dataclasses
import json
import math
import random
from itertools import cycle
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from saewidgets.config.steering import Side, SteeringFeature
from saewidgets.errors import ConfigError
from saewidgets.lm import HookError, LoadedModel, capture, forward, wrap_model
from saewidgets.render import escape
from saewidgets.sae import SAE, inference_architectures, inference_sae
from saewidgets.steering import (
    LatentChange,
    SteeringError,
    SteeringSource,
    TokenEvent,
    estimate_max,
    steer,
    steered,
    sweep,
)
from saewidgets.steering.steer import chat_problems, check_fits, prompt_ids
from tests.lm.models import CONFIGS, build, hook_count
from tests.sae.cases import LOADED, inputs, loaded
from tests.steering.toys import HOOK, feature, toy_sae, weights

PROMPT = "The king went down to the"
PUSH = [feature(5, 8.0)]


@pytest.fixture(scope="module")
def demo_sae() -> Any:
    sae = inference_sae("standard", 256, weights(d_in=256))
    sae.metadata = {"hook_name": "blocks.2.hook_resid_post"}
    return sae


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_tokenizer_folder)


def greedy(lm: LoadedModel, ids: list[int], new: int) -> list[int]:
    """What transformers itself writes."""
    given = torch.tensor([ids])
    out = lm.model.generate(  # type: ignore[operator]
        given, attention_mask=torch.ones_like(given), max_new_tokens=new, do_sample=False
    )
    return out[0, len(ids) :].tolist()


def test_the_baseline_matches_transformers(demo: LoadedModel, demo_sae: Any) -> None:
    for prompt in (PROMPT, "In 1815"):
        result = steer(demo, demo_sae, PUSH, prompt, new_tokens=25, temperature=0)
        assert result.baseline.ids == greedy(demo, list(result.prompt_ids), 25)
        assert result.prompt_ids[0] == 0
        assert "".join(result.prompt_pieces[1:]) == prompt


@pytest.mark.parametrize("name", CONFIGS)
def test_the_baseline_of_every_architecture(name: str, tokenizer: Any) -> None:
    lm = wrap_model(build(name, vocab_size=300), tokenizer, name=name)
    result = steer(lm, toy_sae(), PUSH, PROMPT[:20], new_tokens=12, temperature=0)
    assert result.baseline.ids == greedy(lm, list(result.prompt_ids), 12)
    assert result.steered is not None
    with steered(lm, PUSH, sae=toy_sae()):
        assert result.steered.ids == greedy(lm, list(result.prompt_ids), 12)
    assert hook_count(lm.model) == 0


@pytest.mark.parametrize("positions", ["prompt", "generated", [1, 3]])
def test_positions_are_those_of_generate(tiny: LoadedModel, positions: Any) -> None:
    sae = SteeringSource(toy_sae(), "blocks.0.hook_resid_post")
    result = steer(tiny, sae, PUSH, PROMPT, new_tokens=15, temperature=0, positions=positions)
    assert result.steered is not None
    with steered(tiny, PUSH, sae=sae, positions=positions):
        assert result.steered.ids == greedy(tiny, list(result.prompt_ids), 15)
    expected = {"prompt": len(result.prompt_ids) - 1, "generated": 14}.get(str(positions), 2)
    assert result.steered.steered_tokens == expected


def test_the_same_seed_gives_the_same_texts_and_another_one_others(demo: LoadedModel, demo_sae: Any) -> None:
    one, same = (steer(demo, demo_sae, PUSH, PROMPT, new_tokens=20, seed=3) for _ in range(2))
    other = steer(demo, demo_sae, PUSH, PROMPT, new_tokens=20, seed=4)
    assert one.to_data() | {"seconds": 0} == same.to_data() | {"seconds": 0}
    assert one.baseline.ids != other.baseline.ids


def test_a_multiplier_is_of_the_change_and_a_penalty_of_what_was_written(demo: LoadedModel, demo_sae: Any) -> None:
    greedy_: dict[str, Any] = {"new_tokens": 12, "temperature": 0}
    double = steer(demo, demo_sae, [feature(5, 8.0)], PROMPT, **greedy_)
    assert steer(demo, demo_sae, [feature(5, 4.0)], PROMPT, multiplier=2, **greedy_).steered.ids == double.steered.ids
    off = steer(demo, demo_sae, [feature(5, 8.0)], PROMPT, multiplier=0, **greedy_)
    assert off.steered.ids == off.baseline.ids == double.baseline.ids
    once = steer(demo, demo_sae, [feature(5, 8.0)], PROMPT, frequency_penalty=10, **greedy_)
    assert len(set(once.baseline.ids)) == 12 > len(set(double.baseline.ids))


def test_a_small_change_leaves_most_of_a_sampled_text(demo: LoadedModel, demo_sae: Any) -> None:
    """The runs share their random numbers: otherwise sampled texts part at once."""
    where = [
        steer(demo, demo_sae, [feature(5, 0.02)], PROMPT, new_tokens=12, temperature=1, top_p=1, seed=seed)
        for seed in range(6)
    ]
    assert sum(result.first_difference is None or result.first_difference >= 10 for result in where) >= 5


def test_sampling_follows_the_distribution() -> None:
    from saewidgets.steering.generating import Sampler

    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -30.0])
    draw = Sampler(temperature=0.8, top_p=1.0, seed=0)
    counts = np.bincount([draw(logits) for _ in range(20_000)], minlength=5) / 20_000
    np.testing.assert_allclose(counts, (logits / 0.8).softmax(0).numpy(), atol=0.012)
    # 0.644 + 0.237 pass 0.8, so two tokens stay.
    draw = Sampler(temperature=1.0, top_p=0.8, seed=0)
    counts = np.bincount([draw(logits) for _ in range(20_000)], minlength=5) / 20_000
    np.testing.assert_allclose(counts, [0.7311, 0.2689, 0, 0, 0], atol=0.012)
    assert {Sampler(1.0, 1e-9, seed)(logits) for seed in range(50)} == {0}
    assert Sampler(0.0, 0.5, 0)(logits) == 0


def test_the_global_generators_are_not_touched(demo: LoadedModel, demo_sae: Any) -> None:
    states = torch.get_rng_state(), random.getstate()
    steer(demo, demo_sae, PUSH, PROMPT, new_tokens=5)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def log_probabilities(lm: LoadedModel, prompt: tuple[int, ...], new: list[int]) -> Tensor:
    """[new tokens, vocabulary], by one plain forward."""
    logits = forward(lm.model, torch.tensor([[*prompt, *new]])).logits[0].double()
    return logits.log_softmax(-1)[len(prompt) - 1 : -1]


@pytest.mark.parametrize("in_parts", [False, True])
def test_the_numbers_are_those_of_plain_forwards(
    demo: LoadedModel, demo_sae: Any, in_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_parts:  # seven tokens at once
        monkeypatch.setattr("saewidgets.steering.generating.LOGIT_BYTES", 4 * demo.vocab_size * 7)
    result = steer(demo, demo_sae, PUSH, PROMPT, new_tokens=24, seed=5)
    assert result.steered is not None
    assert result.first_difference is not None
    for text in (result.baseline, result.steered):
        own = log_probabilities(demo, result.prompt_ids, text.ids)
        with steered(demo, PUSH, sae=demo_sae):
            changed = log_probabilities(demo, result.prompt_ids, text.ids)
        chosen = own[range(len(text.ids)), text.ids]
        assert text.perplexity == pytest.approx(math.exp(-chosen.mean()), rel=1e-3)
        for at, token in enumerate(text.tokens):
            assert token.baseline == pytest.approx(float(own[at, token.token].exp()), rel=1e-3)
            assert token.steered == pytest.approx(float(changed[at, token.token].exp()), rel=1e-3)
            assert token.kl == pytest.approx(float((changed[at].exp() * (changed[at] - own[at])).sum()), abs=1e-4)
            likely = set(own[at].topk(5).indices.tolist()) | set(changed[at].topk(5).indices.tolist())
            assert {each.token for each in token.candidates} == likely
            for each in token.candidates:
                assert each.baseline == pytest.approx(float(own[at, each.token].exp()), rel=1e-3)
                assert each.steered == pytest.approx(float(changed[at, each.token].exp()), rel=1e-3)
            larger = [max(each.baseline, each.steered) for each in token.candidates]
            assert larger == sorted(larger, reverse=True)
    assert result.steered.kl_first == result.steered.tokens[0].kl > 0
    assert result.baseline.tokens[0].candidates == result.steered.tokens[0].candidates
    h = _hidden(demo, [*result.prompt_ids, *result.steered.ids[:-1]])
    ratio = float((8.0 * demo_sae.W_dec[5]).norm() / 1) * (1 / h.norm(dim=-1)[1:]).mean()
    assert result.steered.change_ratio == pytest.approx(float(ratio), rel=1e-3)
    assert result.steered.steered_tokens == len(h) - 1


def _hidden(lm: LoadedModel, ids: list[int]) -> Tensor:
    return capture(lm.model, ["blocks.2.hook_resid_post"], torch.tensor([ids]))["blocks.2.hook_resid_post"][0]


def test_a_sweep(demo: LoadedModel, demo_sae: Any) -> None:
    features = [feature(5, 8.0), feature(7, 1.0)]
    whole = steer(demo, demo_sae, features, PROMPT, new_tokens=12, strengths=[-8, 0, 8])
    alone = sweep(demo, demo_sae, features, PROMPT, [-8, 0, 8], new_tokens=12)
    assert [each.strength for each in whole.sweep] == [-8, 0, 8]
    assert whole.steered is not None
    assert whole.sweep[2].ids == whole.steered.ids
    assert alone.steered is None
    assert [each.ids for each in alone.sweep] == [each.ids for each in whole.sweep]
    assert alone.baseline.ids == whole.baseline.ids
    second = sweep(demo, demo_sae, [feature(7, 1.0), feature(5, 0.0)], PROMPT, [8.0], swept=1, new_tokens=12)
    assert second.sweep[0].ids == whole.steered.ids
    assert second.swept == 1
    assert alone.sweep[0].change_ratio is not None
    assert not whole.stopped


def test_mistakes_of_a_sweep_and_the_note_on_a_large_change(demo: LoadedModel, demo_sae: Any) -> None:
    for features, strengths, more, said in (
        (PUSH, [], {}, "no strength to try"), (PUSH, [1.0], {"swept": 1}, "no feature number 1 to sweep over"),
        ([feature(5, 0, "ablate")], [1.0], {}, "ablated, which has no strength"),
    ):
        with pytest.raises(ConfigError, match=said):
            sweep(demo, demo_sae, features, PROMPT, strengths, new_tokens=2, **more)
    large = steer(demo, demo_sae, [feature(5, 500.0)], PROMPT, new_tokens=2)
    [note] = large.notes
    assert "The change is large" in note
    assert "For feature 5, try strengths between −" in note
    assert note in str(large)
    assert not steer(demo, demo_sae, [feature(5, 0.1)], PROMPT, new_tokens=2).notes


def test_tokens_arrive_in_turns(demo: LoadedModel, demo_sae: Any) -> None:
    events: list[TokenEvent] = []
    result = steer(demo, demo_sae, PUSH, PROMPT, new_tokens=6, strengths=[2.0], on_token=events.append)
    assert result.steered is not None
    assert [(e.run, e.step) for e in events[:12]] == [(run, n) for n in range(6) for run in ("baseline", "steered")]
    assert [(e.run, e.step, e.strength) for e in events[12:]] == [("sweep", n, 2.0) for n in range(6)]
    assert [e.token for e in events if e.run == "steered"] == result.steered.ids
    assert events[10].text == result.baseline.text
    assert events[11].text == result.steered.text


def test_stopping_keeps_the_texts_so_far(demo: LoadedModel, demo_sae: Any) -> None:
    events: list[TokenEvent] = []
    result = steer(
        demo, demo_sae, PUSH, PROMPT, new_tokens=50, strengths=[1, 2], on_token=events.append,
        stop=lambda: len(events) >= 7,
    )
    assert result.steered is not None
    assert (len(result.baseline.ids), len(result.steered.ids), result.sweep) == (4, 3, ())
    assert (result.baseline.finish, result.steered.finish) == ("stopped", "stopped")
    assert result.stopped
    assert result.steered.perplexity is not None
    at_once = steer(demo, demo_sae, PUSH, PROMPT, stop=lambda: True)
    assert at_once.steered is not None
    assert (at_once.baseline.ids, at_once.steered.ids, at_once.baseline.perplexity) == ([], [], None)
    assert at_once.baseline.repetition == 0
    json.dumps(at_once.to_data(), allow_nan=False)
    assert "stopped" in at_once._repr_html_()


def test_what_a_callback_raises_comes_out_and_leaves_nothing(demo: LoadedModel, demo_sae: Any) -> None:
    def boom(event: TokenEvent) -> None:
        raise KeyError(event.step)

    demo.model.train()
    try:
        with pytest.raises(KeyError):
            steer(demo, demo_sae, PUSH, PROMPT, on_token=boom)
        assert demo.model.training
    finally:
        demo.model.eval()
    assert hook_count(demo.model) == 0


def test_a_model_without_a_cache_reads_everything_again(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model))
    sae = SteeringSource(toy_sae(), "blocks.0.hook_resid_post")
    settings: dict[str, Any] = {"new_tokens": 10, "temperature": 0, "positions": "generated"}
    cached = steer(tiny, sae, PUSH, PROMPT, **settings)
    plain = tiny.model.forward

    def forgetful(input_ids: Tensor, **kwargs: Any) -> Any:
        assert kwargs.get("past_key_values") is None
        out = plain(input_ids=input_ids, use_cache=False)
        out.past_key_values = None
        return out

    monkeypatch.setattr(tiny.model, "forward", forgetful)
    again = steer(tiny, sae, PUSH, PROMPT, **settings)
    assert again.baseline.ids == cached.baseline.ids
    assert again.steered is not None
    assert cached.steered is not None
    assert again.steered.ids == cached.steered.ids


def test_a_prompt_that_does_not_fit_says_so_with_numbers(tiny: LoadedModel) -> None:
    with pytest.raises(ConfigError, match=r"1 new one is asked.*Shorten the prompt by 1 token\.$"):
        check_fits(256, 1, 256)
    check_fits(196, 60, 256)
    check_fits(10**6, 60, None)
    calls: list[int] = []
    handle = tiny.model.register_forward_pre_hook(lambda *a: calls.append(1))
    sae = SteeringSource(toy_sae(), "blocks.0.hook_resid_post")
    try:
        with pytest.raises(ConfigError, match="the context is 64"):
            steer(tiny, sae, PUSH, PROMPT, new_tokens=60)
        with pytest.raises(ConfigError, match="Token 90 is to be steered"):
            steer(tiny, sae, PUSH, PROMPT, new_tokens=5, positions=[90])
        with pytest.raises(ConfigError, match="New tokens is 0"):
            steer(tiny, sae, PUSH, PROMPT, new_tokens=0)
        with pytest.raises(HookError):
            steer(tiny, SteeringSource(toy_sae(), HOOK.replace("1", "7")), PUSH, PROMPT, new_tokens=5)
    finally:
        handle.remove()
    assert calls == []


def test_prompts(tiny: LoadedModel) -> None:
    assert prompt_ids(tiny, [5, 6], True) == [5, 6]
    assert prompt_ids(tiny, torch.tensor([5, 6]), False) == [5, 6]  # type: ignore[arg-type]
    with_bos, without = prompt_ids(tiny, "king", True), prompt_ids(tiny, "king", False)
    assert with_bos == [0, *without]
    assert 0 not in prompt_ids(tiny, "a <|bos|> b", False)
    with pytest.raises(ConfigError, match="prompt is empty"):
        prompt_ids(tiny, "", False, chat=True)
    with pytest.raises(ConfigError, match="no chat template"):
        prompt_ids(tiny, "king", True, chat=True)
    tiny.tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<reply>"
    try:
        assert tiny.tokenizer.decode(prompt_ids(tiny, "king", True, chat=True)) == "<user>king<reply>"
    finally:
        tiny.tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="no token 300"):
        prompt_ids(tiny, [3, 300], False)


IGNORES_SYSTEM = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"
CHAT = "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}{% endfor %}<a>"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + CHAT


@pytest.mark.parametrize("template", [NO_SYSTEM, IGNORES_SYSTEM])
def test_a_template_without_a_system_role_says_so(
    tiny: LoadedModel, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.tokenizer, "chat_template", template)
    assert chat_problems(tiny.tokenizer, "tiny") == ("", "The chat template of tiny has no system role.")
    with pytest.raises(ConfigError, match="has no system role") as raised:
        steer(tiny, None, [], "king", chat=True, system="Be brief.")
    assert raised.value.where == "system"


def test_a_chat_goes_on_from_the_history_of_each_side(
    demo: LoadedModel, demo_sae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo.tokenizer, "chat_template", CHAT)
    assert chat_problems(demo.tokenizer, "demo") == ("", "")
    how: dict[str, Any] = {"new_tokens": 6, "seed": 3}
    opening = [{"role": "system", "content": "Be"}, {"role": "user", "content": "king"}]
    first = steer(demo, demo_sae, PUSH, opening, **how)
    assert "".join(first.prompt_pieces) == "<s>Be<u>king<a>"
    assert first.config.system == "Be"
    assert first.baseline.text != (first.steered.text if first.steered else "")
    second = steer(demo, demo_sae, PUSH, "ship", chat=True, system="Be", turns=first.turns, **how)
    for side in get_args(Side):
        messages = [*opening, {"role": "assistant", "content": getattr(first, side).text},
                    {"role": "user", "content": "ship"}]  # fmt: skip
        assert second.config.messages(side) == messages
        assert getattr(steer(demo, demo_sae, PUSH, messages, **how), side).ids == getattr(second, side).ids
        assert escape(getattr(first, side).text) in second._repr_html_()
    assert second.config.from_data(second.config.to_data()) == second.config


def test_mistakes_in_messages(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.tokenizer, "chat_template", "{{ raise_exception('Not today') }}")
    with pytest.raises(ConfigError, match="refuses these messages: Not today"):
        steer(tiny, None, [], "king", chat=True)
    user, answer = {"role": "user", "content": "king"}, {"role": "assistant", "content": "ship"}
    for messages in ([user, answer], [answer, user], [user, user], [{"role": "user"}], [{**user, "role": "tool"}]):
        with pytest.raises(ConfigError):
            steer(tiny, None, [], messages)
    with pytest.raises(ConfigError, match="belong to a chat"):
        steer(tiny, None, [], "king", system="Be brief.")


def test_a_broken_model_is_an_error(tiny: LoadedModel) -> None:
    lm = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model))
    lm.model.transformer.ln_f.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    sae = SteeringSource(toy_sae(), "blocks.0.hook_resid_post")
    with pytest.raises(SteeringError, match="not a number"):
        steer(lm, sae, PUSH, PROMPT, new_tokens=5)


def test_text_is_never_markup(demo: LoadedModel, demo_sae: Any) -> None:
    hostile = '<img src=x onerror=alert(1)> "&\u202e'
    named = [feature(5, 8.0, label="<b>x</b>\x00")]
    result = steer(demo, demo_sae, named, hostile, new_tokens=4, strengths=[1.0])
    page = str(result._repr_html_())
    assert "<img" not in page
    assert "<b>x" not in page
    assert "\x00" not in page
    assert "&lt;img src=x" in page
    data = json.loads(json.dumps(result.to_data(), allow_nan=False))
    assert data["config"]["prompt"] == hostile
    assert data["baseline"]["text"] == result.baseline.text


AT = "blocks.0.hook_resid_post"


def contexts() -> torch.Tensor:
    ids = torch.randint(2, 300, (7, 20), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 0
    ids[3, 9] = 1
    return ids


def dense(lm: LoadedModel) -> np.ndarray:
    sae, ids = toy_sae(), contexts()
    x = capture(lm.model, [AT], ids)[AT].double().numpy()
    W_enc, b_enc, b_dec = (getattr(sae, name).double().numpy() for name in ("W_enc", "b_enc", "b_dec"))
    f = np.maximum((x - b_dec) @ W_enc + b_enc, 0)
    return f[ids.numpy() > 1].max(0)  # special tokens do not count


def test_the_maximum_is_the_largest_activation(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.steering.change.LATENT_BYTES", 4 * 24 * 20 * 2)  # two contexts at once
    sae = SteeringSource(toy_sae(), AT)
    found = estimate_max(sae, tiny, contexts(), [5, 0, 23], max_norm_ratio=None, batch_size=3)
    assert list(found) == [5, 0, 23]
    expected = dense(tiny)
    np.testing.assert_allclose(list(found.values()), expected[[5, 0, 23]], rtol=1e-4)


def test_attention_sinks_do_not_count(tiny: LoadedModel) -> None:
    lm, ids = dataclasses.replace(tiny, model=copy.deepcopy(tiny.model)), contexts()
    lm.model.get_input_embeddings().weight[ids[2, 4]] = 1e4  # type: ignore[operator]
    sae = SteeringSource(toy_sae(), "blocks.0.hook_resid_pre")
    counted = estimate_max(sae, lm, ids, range(24), max_norm_ratio=None)
    left_out = estimate_max(sae, lm, ids, range(24))
    assert max(counted.values()) > 1e3
    assert max(left_out.values()) < 20


def test_mistakes(tiny: LoadedModel) -> None:
    sae = SteeringSource(toy_sae(), AT)
    with pytest.raises(ConfigError, match="no feature 24"):
        estimate_max(sae, tiny, contexts(), [3, 24])
    with pytest.raises(ConfigError, match="contexts is of shape"):
        estimate_max(sae, tiny, contexts()[0], [3])


NORMALIZATIONS = ("none", "layer_norm", "constant_norm_rescale")


def by_hand(name: str, h: np.ndarray, **values: Any) -> np.ndarray:
    """h with one latent steered, by the formulas of the documentation, for a plain ReLU SAE in float64."""
    sae, i, s = values["sae"], values["index"], values["strength"]
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    W_enc, b_enc, W_dec, b_dec = (getattr(sae, name_).detach().double().numpy() for name_ in names)
    f = np.maximum((h - b_dec) @ W_enc + b_enc, 0)[..., i : i + 1]
    d = W_dec[i]
    return {
        "add_max": lambda: h + s * values.get("a_max", 0) * d,
        "add": lambda: h + s * d,
        "clamp": lambda: h + (s - f) * d,
        "conditional_clamp": lambda: np.where(f > 0, h + (s - f) * d, h),
        "scale": lambda: h + (s - 1) * f * d,
        "ablate": lambda: h - f * d,
    }[name]()


@pytest.mark.parametrize("mode", ["add_max", "add", "clamp", "conditional_clamp", "scale", "ablate"])
def test_each_mode_is_its_formula(mode: str) -> None:
    sae = toy_sae()
    h = torch.randn(2, 15, 32, generator=torch.Generator().manual_seed(3))
    more = {"a_max": 3.5} if mode == "add_max" else {}
    change = LatentChange(sae, [feature(5, -1.7, mode, **more)])
    expected = by_hand(mode, h.double().numpy(), sae=sae, index=5, strength=-1.7, **more)
    np.testing.assert_allclose((h + change(h)).numpy(), expected, rtol=0, atol=2e-5)
    f = sae.encode(h)[..., 5]
    assert (f > 0).any()  # else clamp and ablation would be told apart from nothing
    assert (f == 0).any()
    assert change.reads_latents == (mode not in ("add_max", "add"))


def test_a_conditional_clamp_leaves_silent_tokens_alone_bit_for_bit() -> None:
    sae = toy_sae()
    h = torch.randn(40, 32, generator=torch.Generator().manual_seed(3))
    change = LatentChange(sae, [feature(5, 4.0, "conditional_clamp")])(h)
    silent = sae.encode(h)[:, 5] == 0
    assert 0 < silent.sum() < 40
    assert (change[silent] == 0).all()
    assert (change[~silent] != 0).any(-1).all()


def several(additive: bool) -> list[SteeringFeature]:
    if additive:
        return [feature(1, 2.0), feature(4, -1.5), feature(4, 0.5), feature(9, 2.0, "add_max", a_max=1.25)]
    return [
        feature(0, 1.5, "clamp"), feature(3, 2.0, "conditional_clamp"), feature(7, 3.0, "scale"),
        feature(8, 0, "ablate"), feature(11, -2.0),
    ]


def wanted(sae: SAE, f: torch.Tensor, features: list[SteeringFeature]) -> torch.Tensor:
    """f′, latent by latent."""
    new = f.clone()
    for each in features:
        own = f[..., each.index]
        if each.mode == "clamp":
            new[..., each.index] = each.strength
        elif each.mode == "conditional_clamp":
            new[..., each.index] = torch.where(own > 0, torch.full_like(own, each.strength), own)
        elif each.mode == "scale":
            new[..., each.index] = own * each.strength
        elif each.mode == "ablate":
            new[..., each.index] = 0
        else:
            new[..., each.index] += each.strength * (each.a_max if each.mode == "add_max" else 1)
    return new


def test_every_architecture_is_covered() -> None:
    assert set(LOADED) == set(inference_architectures())


@pytest.mark.parametrize(
    ("name", "normalization", "additive"),
    zip([*LOADED, *LOADED], cycle(NORMALIZATIONS), [*[True] * len(LOADED), *[False] * len(LOADED)]),
)
def test_the_change_is_the_difference_of_two_reconstructions(name: str, normalization: str, additive: bool) -> None:
    sae = loaded(name, dtype=torch.float64, normalize_activations=normalization)
    features, x = several(additive), inputs(name).double()
    if name == "temporal" and not additive:
        with pytest.raises(ConfigError, match="temporal"):
            LatentChange(sae, features)
        return
    f = sae.encode(x)
    expected = sae.decode(wanted(sae, f, features), x) - sae.decode(f, x)
    found = LatentChange(sae, features)(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_temporal_sae_with_a_constant_scale() -> None:
    sae = loaded(
        "temporal", dtype=torch.float64, normalize_activations="constant_scalar_rescale",
        activation_normalization_factor=0.25,
    )
    x = inputs("temporal").double()
    f = sae.encode(x)
    expected = sae.decode(wanted(sae, f, several(True)), x) - sae.decode(f, x)
    torch.testing.assert_close(LatentChange(sae, several(True))(x), expected, rtol=1e-9, atol=1e-9)


def test_the_sae_stays_as_it_was_and_a_training_mode_does_not_count() -> None:
    sae = toy_sae("topk", k=5)
    h = torch.randn(6, 32, generator=torch.Generator().manual_seed(3))
    expected = LatentChange(sae, [feature(2, 3.0, "clamp")])(h)
    sae.train()
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    assert torch.equal(LatentChange(sae, [feature(2, 3.0, "clamp")])(h), expected)
    assert sae.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())


def test_the_end_of_a_text_ends_it(tokenizer: Any) -> None:
    lm = wrap_model(build("gpt2", vocab_size=300), tokenizer)
    ids = steer(lm, toy_sae(), [feature(5, 0.0)], PROMPT, new_tokens=8, temperature=0).baseline.ids
    lm.model.generation_config.eos_token_id = [299, ids[3]]  # type: ignore[union-attr]
    result = steer(lm, toy_sae(), [feature(5, 0.0)], PROMPT, new_tokens=8, temperature=0)
    assert result.baseline.ids == ids[: ids.index(ids[3]) + 1] == greedy(lm, list(result.prompt_ids), 8)
    assert result.baseline.finish == "end"
    assert result.baseline.text == "".join(result.baseline.pieces[:-1])
