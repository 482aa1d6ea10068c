"""The estimate before Start: sizes by hand, and no torch."""

import math
from dataclasses import replace

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.training.estimate import (
    ModelSize,
    disk_bytes,
    estimate_together,
    evaluation_share,
    model_flops,
    sae_flops,
    sae_parameters,
    with_evaluations,
)
from tests.training.fakes import SAES

GPT2 = ModelSize(parameters=124_439_808, d_model=768, n_layers=12, vocab_size=50_257)
CONFIG = TrainingConfig(model="gpt2", sae={"architecture": "topk", "d_sae": 16_384, "k": 32})


def estimate(config, model, d_in, **settings):
    return estimate_together([config], model, dict.fromkeys(config.hook_names, d_in), **settings)


def _part(result, label):
    return next(part.bytes for part in result.memory if part.label == label)


STANDARD = {"architecture": "standard", "d_sae": 512}


def test_parts_by_hand():
    result = estimate(CONFIG, GPT2, 768)
    assert [part.label for part in result.memory] == ["Model", "SAE", "Activations", "Working memory"]
    assert _part(result, "Model") == 124_439_808 * 4
    assert _part(result, "SAE") == 4 * 4 * (2 * 768 * 16_384 + 16_384 + 768)
    assert _part(result, "Activations") == (65_536 + 4_096) * 768 * 4
    assert result.total_bytes == sum(part.bytes for part in result.memory)


MORE = [
    {"architecture": "matryoshka", "k": 4}, {"architecture": "gated"}, {"architecture": "skip", "learn_skip": True},
    {"architecture": "transcoder"}, {"architecture": "skip_transcoder", "d_out": 7},
]  # fmt: skip


@pytest.mark.parametrize("settings", [*SAES.values(), *MORE], ids=lambda settings: settings["architecture"])
def test_parameter_count_is_that_of_the_real_thing(settings):
    from saewidgets.sae import build_sae

    out = {"hook_name_out": "blocks.9.hook_mlp_out"} if "transcoder" in settings["architecture"] else {}
    config = CONFIG.replace(sae={**settings, "d_sae": 48}, **out)
    assert sae_parameters(config, 10) == sum(p.numel() for p in build_sae(config.sae, 10).parameters())


def test_what_makes_it_grow_and_shrink():
    base = estimate(CONFIG, GPT2, 768)
    assert _part(estimate(CONFIG.replace(model_dtype="bfloat16"), GPT2, 768), "Model") == _part(base, "Model") // 2
    large = CONFIG.replace(batch_size=65_536)
    split = estimate(large.replace(gradient_accumulation=16), GPT2, 768)
    assert _part(split, "Working memory") < _part(estimate(large, GPT2, 768), "Working memory") / 2
    wide = estimate(CONFIG.replace(**{"activations.shuffle_tokens": 2**20}), GPT2, 768)
    assert _part(wide, "Activations") > 10 * _part(base, "Activations")
    assert _part(estimate(CONFIG, GPT2, 768, device="cuda:0"), "Working memory") > _part(base, "Working memory")


def test_operations_of_the_model_by_hand():
    block = 2 * 12 * 768**2 + 4 * 256 * 768  # two per parameter, and the attention of 256 tokens
    of_gpt2 = model_flops(CONFIG.replace(hook_name="blocks.5.hook_resid_post"), GPT2)
    assert of_gpt2 == pytest.approx(6 * block * 256 / 255, rel=0.02)  # embeddings tied, biases and norms besides
    before = model_flops(CONFIG.replace(hook_name="blocks.5.hook_resid_pre"), GPT2)
    assert before == pytest.approx(of_gpt2 * 5 / 6)
    assert model_flops(CONFIG.replace(hook_name="blocks.0.hook_resid_pre"), GPT2) == 0
    unknown = model_flops(CONFIG, ModelSize(None, 768, 12))
    assert unknown == pytest.approx(model_flops(CONFIG, GPT2), rel=0.02)
    pythia = ModelSize(parameters=70_426_624, d_model=512, n_layers=6, vocab_size=50_304)  # its embeddings are not tied
    assert model_flops(CONFIG, pythia) == pytest.approx(3 * (24 * 512**2 + 4 * 256 * 512) * 256 / 255, rel=0.01)


def test_operations_of_the_autoencoder_by_architecture():
    wide = CONFIG.replace(batch_size=65_536)  # Adam hardly counts
    encode = 2 * 768 * 16_384
    assert sae_flops(wide, 768) == pytest.approx(encode, rel=0.15)
    assert sae_flops(wide, 768, sparse=False) == pytest.approx(5 * encode, rel=0.05)
    for architecture in ("standard", "jumprelu"):
        dense = wide.replace(sae={"architecture": architecture, "d_sae": 16_384})
        assert sae_flops(dense, 768) == pytest.approx(5 * encode, rel=0.05)
    assert sae_flops(wide.replace(**{"sae.k": 256}), 768) > sae_flops(wide, 768)
    assert sae_flops(wide.replace(batch_size=64), 768) > 3 * sae_flops(wide, 768)


def test_disk_counts_the_kept_checkpoints():
    weights = 4 * sae_parameters(CONFIG, 768)
    few, all_of_them = disk_bytes(CONFIG, 768), disk_bytes(CONFIG.replace(**{"checkpoints.keep_every": True}), 768)
    assert few > 3 * 3 * weights
    assert all_of_them - few == pytest.approx(8 * 3 * weights, rel=0.01)  # ten instead of the two


def test_a_transcoder_needs_a_window_and_a_batch_of_its_target_too():
    out = {"sae": {"architecture": "transcoder", "d_sae": 16_384}, "hook_name_out": "blocks.7.hook_mlp_out"}
    config = CONFIG.replace(**out)
    assert _part(estimate(config, GPT2, 768), "Activations") == 2 * _part(estimate(CONFIG, GPT2, 768), "Activations")
    assert model_flops(config, GPT2) == model_flops(CONFIG.replace(hook_name="blocks.7.hook_mlp_out"), GPT2)


def test_together_by_hand():
    hooks = ["blocks.2.hook_resid_post", "blocks.6.hook_resid_post"]
    configs = [CONFIG.replace(hook_name=name, **{"sae.k": k}) for name in hooks for k in (16, 32)]
    found, one = estimate_together(configs, GPT2, dict.fromkeys(hooks, 768), rate=1000.0), estimate(CONFIG, GPT2, 768)
    assert _part(found, "Model") == _part(one, "Model")
    assert _part(found, "SAE") == 4 * _part(one, "SAE")
    assert _part(found, "Activations") == (2 * 65_536 + 4_096) * 768 * 4  # two hook points, one batch at a time
    assert _part(found, "Working memory") == _part(one, "Working memory")
    assert found.disk_bytes == 4 * one.disk_bytes - 3 * 2 * CONFIG.tokens  # the packed text is shared
    assert found.seconds == pytest.approx(10_000, rel=1e-3)
    alone = estimate_together([CONFIG], GPT2, {CONFIG.hook_name: 768})
    assert (alone.memory, alone.disk_bytes) == (one.memory, one.disk_bytes)


def test_evaluations_by_hand():
    """The first takes the blocks to the hook and twice those behind it with the output layer, every one the SAE's
    forward and what is behind."""
    model = ModelSize(parameters=None, d_model=256, n_layers=4, vocab_size=1000)
    config = CONFIG.replace(
        hook_name="blocks.1.hook_resid_post", context_size=64, batch_size=1000, tokens=100_000, sae=STANDARD,
        **{"evaluation.every_steps": 17, "evaluation.tokens": 1000},
    )
    block = 2 * 12 * 256**2 + 4 * 64 * 256
    behind, own = 2 * block + (2 * 256 + 60) * 1000, (4 * 256 + 60) * 512
    work = 1024 * (2 * block + 2 * behind + 6 * (behind + own))  # at steps 17, 34, … of 100, whole contexts
    assert evaluation_share([config], model) == pytest.approx(
        work / (100_000 * (model_flops(config, model) + sae_flops(config, 256)))
    )
    encoder = replace(model, is_causal=False)
    assert evaluation_share([config], encoder) == pytest.approx(
        1024 * (2 * block + 6 * own) / (100_000 * (model_flops(config, model) + sae_flops(config, 256)))
    )
    several = [config.replace(hook_name=f"blocks.{layer}.hook_resid_post") for layer in (0, 1)]
    assert evaluation_share(several, model) > 1.2 * evaluation_share([config], model)  # each step by itself


MODELS = {
    "minilm": (ModelSize(22_000_000, 384, 6, 30_522, is_causal=False), "blocks.2.hook_resid_post"),
    "demo": (ModelSize(3_672_320, 256, 4, 4096), "blocks.0.hook_resid_post"),
    "gpt2": (GPT2, "blocks.6.hook_resid_post"),
    "gemma": (ModelSize(2_614_341_888, 2304, 26, 256_000), "blocks.12.hook_resid_post"),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("sae", [{**SAES["topk"], "d_sae": 1024}, {**SAES["topk"], "d_sae": 65_536}, STANDARD], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_evaluations_are_at_most_a_twentieth_of_a_run_of_any_length(name, sae, precision):
    model, hook_name = MODELS[name]
    base = CONFIG.replace(sae=sae, hook_name=hook_name, precision=precision, model_dtype=precision)
    numbers = []
    for tokens in (40_960, 163_840, 1_000_000, 10_000_000, 10**9):
        config = base.replace(tokens=tokens)
        found = with_evaluations(config, model)
        assert with_evaluations(found, model) == found
        read, number = found.evaluation, math.ceil(found.steps / found.evaluation.every_steps)
        least = (read.tokens, read.ce_tokens) == (8192, 256)  # FVU of fewer tokens is noise, whatever they cost
        assert evaluation_share([config], model) <= (0.05 if not least else 0.1 if number > 1 else 1)
        assert 256 <= read.ce_tokens <= read.tokens
        numbers.append((read.tokens, number))
    assert numbers == sorted(numbers)  # a longer run measures no less
    assert numbers[-1] == (16_384, 10)
    assert read.ce_tokens == 16_384


def test_what_is_set_of_evaluations_is_kept():
    model, short = MODELS["gpt2"][0], CONFIG.replace(tokens=100_000)
    every = with_evaluations(short.replace(**{"evaluation.every_steps": 2}), model).evaluation
    assert (every.every_steps, every.tokens, every.ce_tokens) == (2, 8192, 256)
    tokens = with_evaluations(short.replace(**{"evaluation.tokens": 2000}), model).evaluation
    assert (tokens.every_steps, tokens.tokens, tokens.ce_tokens) == (short.steps, 2000, None)  # all of them
    cross_entropy = with_evaluations(short.replace(**{"evaluation.ce_tokens": 700}), model).evaluation
    assert (cross_entropy.tokens, cross_entropy.ce_tokens) == (8192, 700)
    both = CONFIG.replace(**{"evaluation.tokens": 10**6, "evaluation.every_steps": 1})
    assert with_evaluations(both, model) == both
    alone = CONFIG.replace(tokens=10**6, corpus={"kind": "activations", "store_id": "x"})
    usual = with_evaluations(CONFIG.replace(tokens=10**6), model).evaluation
    assert with_evaluations(alone, model).evaluation.every_steps < usual.every_steps
    few = with_evaluations(CONFIG.replace(tokens=10**6), model, held_out=300).evaluation
    assert (few.tokens, few.ce_tokens) == (16_384, 16_384)


def test_memory_of_two_devices_by_hand():
    config = CONFIG.replace(model_device="cuda:0")
    one, two = estimate(CONFIG, GPT2, 768, device="cuda:1"), estimate(config, GPT2, 768, device="cuda:1")
    assert [part.label for part in two.memory] == ["SAE", "Activations", "Working memory"]
    [other] = two.elsewhere
    assert (other.device, [part.label for part in other.memory]) == ("cuda:0", ["Model", "Working memory"])
    assert _part(other, "Model") == _part(one, "Model")
    assert _part(two, "Working memory") < _part(one, "Working memory")
    batch = 4 * 768 * config.batch_size
    window = _part(one, "Activations") - batch
    assert _part(two, "Activations") == 2 * window + batch  # the next is computed meanwhile
    alone = estimate(config.replace(**{"activations.read_ahead": "off"}), GPT2, 768, device="cuda:1")
    assert _part(alone, "Activations") == window + batch
    kept = estimate(CONFIG.replace(**{"activations.buffer_device": "cpu"}), GPT2, 768, device="cuda:1")
    assert (_part(kept, "Activations"), kept.elsewhere[0].device) == (batch, "cpu")
    assert _part(kept.elsewhere[0], "Activations") == kept.elsewhere[0].total_bytes == window
    assert one.elsewhere == ()
