"""miStudio's hyper-parameters: units of its loss, several layers, and where they may stand in a file."""

import json

import numpy as np
import pytest
import torch

from saewidgets.config.base import dotted
from saewidgets.config.translate import from_mistudio
from saewidgets.errors import ConfigError
from saewidgets.sae import build_sae

FIRST = {
    "hidden_dim": 768, "latent_dim": 8192, "architecture_type": "standard", "training_layers": [6], "l1_alpha": 0.001,
    "target_l0": 0.05, "normalize_activations": "none", "learning_rate": 0.0003, "batch_size": 4096,
    "total_steps": 10_000, "warmup_steps": 1000, "weight_decay": 0.0, "grad_clip_norm": 1.0,
    "checkpoint_interval": 5000, "log_interval": 100, "dead_neuron_threshold": 1000, "resample_dead_neurons": True,
    "resample_interval": 5000,
}  # fmt: skip
NEEDED = {"model": "gpt2", "corpus": "demo"}


def _from(changes=None, **arguments):
    return from_mistudio({**FIRST, **(changes or {})}, **{**NEEDED, **arguments})


def _remarks(found):
    return {each.setting: each.text for each in found.remarks}


def test_values_and_units():
    found = _from()
    config = found.config
    assert (config.model, config.hook_name, config.corpus.kind) == ("gpt2", "blocks.6.hook_resid_post", "demo")
    assert (config.tokens, config.batch_size, config.steps) == (40_960_000, 4096, 10_000)
    assert (config.sae.architecture, config.sae.d_sae, config.sae.apply_b_dec_to_input) == ("standard", 8192, False)
    assert config.sae.l1_coefficient == pytest.approx(0.768)
    optimizer = config.optimizer
    assert (optimizer.lr_warm_up_steps, optimizer.lr_decay_steps, optimizer.grad_clip) == (1000, 0, 1)
    assert (config.resampling.every_steps, config.resampling.until_share) == (5000, 1.0)
    assert config.dead_window_tokens == 1000 * 4096
    assert config.targets.l0_max == pytest.approx(0.05 * 8192)
    assert (config.checkpoints.every_steps, config.log_every_steps) == (5000, 100)
    assert config.activations.normalize == "none"
    assert found.over == {}
    assert "not known" not in "".join(_remarks(found).values())


def _theirs(x, w, alpha, share=0.0, rescaled=True):
    """miStudio's loss: every token to norm √d before encoding, the error after undoing that, averaged over d."""
    c = x.shape[1] ** 0.5 / np.linalg.norm(x, axis=1, keepdims=True) if rescaled else 1.0
    z = np.maximum(c * x @ w["W_enc"] + w["b_enc"], 0)
    return (((z @ w["W_dec"] + w["b_dec"]) / c + share * x - x) ** 2).mean() + alpha * np.abs(z).sum(1).mean()


def _weights(sae):
    return {name: tensor.detach().numpy().astype(float) for name, tensor in sae.state_dict().items()}


@pytest.mark.parametrize("name", ["none", "constant_norm_rescale", "anthropic_rescale", None])
def test_the_loss_is_that_of_miStudio_times_d_in(name):  # noqa: N802 - a name
    """The same weights (rows of norm one) and tokens of any norm: ours is a sum over d_in, theirs a mean."""
    d_in, alpha = 6, 0.03
    found = _from({"hidden_dim": d_in, "latent_dim": 10, "l1_alpha": alpha, "normalize_activations": name})
    assert found.config.activations.normalize == ("none" if name == "none" else "constant_norm_rescale")
    assert "normalize_activations" not in _remarks(found)
    assert "norm √d_in" not in _remarks(found)["hidden_dim"]  # the factor is exact
    sae = build_sae(found.config.autoencoder, d_in)
    sae.after_step()  # rows of norm one, as training keeps them
    x = torch.randn(32, d_in, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.3, 9, 32)[:, None]
    expected = d_in * _theirs(x.numpy().astype(float), _weights(sae), alpha, rescaled=name != "none")
    assert float(sae.loss(x).total.detach()) == pytest.approx(expected, rel=1e-5)


def test_a_skip_autoencoder_has_one_scale_and_is_exact_for_tokens_of_one_norm():
    """Error s² as large as in raw units, with s = √d/n."""
    d_in, alpha, norm = 6, 0.03, 17.0
    changes = {"hidden_dim": d_in, "latent_dim": 10, "l1_alpha": alpha, "architecture_type": "skip"}
    changes["normalize_activations"] = "constant_norm_rescale"
    found = _from(changes, activation_norm=norm)
    assert found.config.activations.normalize == "expected_average_only_in"
    assert "normalize_activations" in _remarks(found)
    sae = build_sae(found.config.autoencoder, d_in)
    sae.after_step()
    x = torch.randn(32, d_in, generator=torch.Generator().manual_seed(0))
    x = norm * x / x.norm(dim=1, keepdim=True)
    s = d_in**0.5 / norm
    expected = s**2 * d_in * _theirs(x.numpy().astype(float), _weights(sae), alpha, share=0.5)
    assert float(sae.loss(s * x).total.detach()) == pytest.approx(expected, rel=1e-5)
    assert "hidden_dim" in _remarks(_from(changes))  # without the norm it says what is missing
    assert "hidden_dim" not in _remarks(found)


def test_architectures_of_both_generations():
    topk = _from({"architecture_type": "topk", "top_k": 50, "aux_loss_alpha": 0.1, "adam_epsilon": 6.25e-10}).config
    assert (topk.sae.architecture, topk.sae.k, topk.sae.aux_k, topk.sae.aux_coefficient) == ("topk", 50, 100, 0.1)
    assert (topk.optimizer.eps, topk.sae.apply_b_dec_to_input) == (6.25e-10, True)
    share = _from({"top_k_sparsity": 1.0})
    assert (share.config.sae.architecture, share.config.sae.k) == ("topk", 81)
    jump = _from({"architecture_type": "jumprelu", "sparsity_coeff": 1e-4, "bandwidth": 0.02}).config
    assert (jump.sae.l0_coefficient, jump.sae.bandwidth) == (pytest.approx(0.0768), 0.02)
    assert jump.optimizer.beta1 == 0
    free = _from({"architecture_type": "jumprelu", "sparsity_coeff": 1e-4, "normalize_decoder": False}).config
    assert free.optimizer.normalize_decoder_every is None
    skip = _from({"architecture_type": "skip"})
    assert (skip.config.sae.architecture, "architecture_type" in _remarks(skip)) == ("skip", True)
    coder = _from({"architecture_type": "transcoder", "normalize_activations": None})
    assert (coder.config.sae.architecture, "architecture_type" in _remarks(coder)) == ("standard", True)
    assert (coder.config.activations.normalize, "normalize_activations" in _remarks(coder)) == ("none", False)
    assert "normalize_activations" in _remarks(
        _from({"architecture_type": "transcoder", "normalize_activations": "constant_norm_rescale"})
    )
    second = _from({"architecture_type": "standard_anthropic"}).config
    assert (second.sae.apply_b_dec_to_input, second.optimizer.sparsity_warm_up_steps) == (True, 5000)


@pytest.mark.parametrize(
    ("architecture", "second", "remarked"),
    [
        ("standard", {}, True), ("standard_saelens", {}, True), ("skip", {"aux_k": 4}, True),
        ("topk", {"top_k": 4}, False), ("jumprelu", {"sparsity_coeff": 1e-4}, False),
    ],
)  # fmt: skip
def test_decoder_rows_are_free_where_they_were(architecture, second, remarked):
    kept = _from({"architecture_type": architecture, **second})
    assert kept.config.optimizer.normalize_decoder_every == 1
    assert ("normalize_decoder" in _remarks(kept)) == (architecture == "standard")  # never normalised there
    free = _from({"architecture_type": architecture, **second, "normalize_decoder": False})
    assert (free.config.optimizer.normalize_decoder_every, free.config.optimizer.project_decoder_grad) == (None, False)
    assert ("normalize_decoder" in _remarks(free)) == remarked  # the penalty weighs latents by them


def test_missing_settings_take_miStudio_defaults():  # noqa: N802 - a name
    topk = _from({"architecture_type": "topk", "l1_alpha": None, "adam_epsilon": None}).config
    assert (topk.sae.k, topk.sae.aux_k, topk.optimizer.eps) == (64, 128, 6.25e-10)
    second = {"l1_alpha": None, "sparsity_warmup_steps": 9}
    anthropic = _from({"architecture_type": "standard_anthropic", **second}).config
    assert anthropic.sae.l1_coefficient == pytest.approx(5 * 768)
    assert _from({"architecture_type": "skip", **second}).config.sae.l1_coefficient == pytest.approx(5e-4 * 768)
    jump = _from({"architecture_type": "jumprelu", "adam_epsilon": 1e-8}).config.optimizer
    assert (jump.sparsity_warm_up_steps, jump.eps) == (10_000, 1e-8)
    assert "every 4 batches" in _remarks(_from({"batch_size": 16}))["batch_size"]
    assert "batch_size" not in _remarks(_from({"batch_size": 64}))
    for setting, value in {"ghost_gradient_penalty": 0.1, "tied_weights": True, "new": 1, "weight_decay": 0.1}.items():
        assert setting in _remarks(_from({setting: value}))


@pytest.mark.parametrize(
    ("broken", "changes", "setting", "expected"),
    [
        ({"batch_size": "x", "total_steps": None}, {"batch_size": 64, "tokens": 640}, "tokens", 640),
        ({"l1_alpha": None}, {"sae.l1_coefficient": 3.0}, "sae.l1_coefficient", 3.0),
        ({"architecture_type": "x"}, {"sae.architecture": "batchtopk", "sae.k": 4}, "sae.architecture", "batchtopk"),
        ({"training_layers": []}, {"hook_name": "blocks.1.hook_mlp_out"}, "hook_name", "blocks.1.hook_mlp_out"),
        ({"normalize_activations": "x"}, {"activations.normalize": "none"}, "activations.normalize", "none"),
        ({"learning_rate": -1}, {"optimizer.lr": 1e-3}, "optimizer.lr", 1e-3),
        ({"total_steps": 0}, {"tokens": 40_960}, "tokens", 40_960),
        ({"top_k_sparsity": 0.5}, {"sae.k": 7}, "sae.aux_k", 14),
    ],
)
def test_changes_replace_missing_or_wrong_settings(broken, changes, setting, expected):
    assert dict(dotted(_from(broken, **changes).config.to_data()))[setting] == expected


def test_several_layers_and_places():
    found = _from({"training_layers": [0, 6], "hook_types": ["residual", "mlp"]})
    assert found.over == {
        "hook_name": [
            "blocks.0.hook_resid_post", "blocks.0.hook_mlp_out", "blocks.6.hook_resid_post", "blocks.6.hook_mlp_out",
        ]
    }
    assert found.config.hook_name == "blocks.0.hook_resid_post"
    assert _from({"training_layers": [0, 6]}, hook_name="blocks.3.hook_mlp_out").over == {}


def test_where_the_hyper_parameters_may_stand(tmp_path):
    direct = _from().config
    training = {"id": "train_1", "model_id": "m_1", "hyperparameters": FIRST}
    assert from_mistudio(training, **NEEDED).config == direct
    template = {"name": "small", "encoder_type": "standard", "hyperparameters": FIRST}
    export = tmp_path / "templates.json"
    export.write_text(json.dumps({"version": "1.0", "templates": [template, {**template, "name": "large"}]}))
    assert from_mistudio(export, template="large", **NEEDED).config == direct
    with pytest.raises(ConfigError) as caught:
        from_mistudio(export, **NEEDED)
    assert caught.value.where == "template"
    assert "--template: small, large" in caught.value.hint
    with pytest.raises(ConfigError, match="no templates in it"):
        from_mistudio(FIRST, template="large", **NEEDED)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"l1_alpha": None}, "l1_alpha"), ({"hidden_dim": None}, "hidden_dim"),
        ({"architecture_type": "x"}, "architecture_type"),
        ({"training_layers": []}, "training_layers"),
        *(({"hook_types": wrong}, "hook_types") for wrong in (["q"], [["residual"]], [], 3, [None], "nothing")),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"resample_dead_neurons": "false"}, "resample_dead_neurons"), ({"tied_weights": 1}, "tied_weights"),
        ({"normalize_decoder": "no"}, "normalize_decoder"), ({"hidden_dim": 0}, "hidden_dim"),
        ({"latent_dim": 0}, "latent_dim"), ({"target_l0": 5}, "target_l0"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_names_its_setting(changes, where):
    with pytest.raises(ConfigError) as caught:
        _from(changes)
    assert caught.value.where == where


def test_model_and_text_must_be_given():
    for missing in NEEDED:
        with pytest.raises(ConfigError) as caught:
            from_mistudio(FIRST, **{name: value for name, value in NEEDED.items() if name != missing})
        assert caught.value.where == missing
