"""The cfg.json of an SAE: what it records of its training, and what it leaves open."""

import json
from pathlib import Path

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.config.translate import from_saelens
from saewidgets.errors import ConfigError
from saewidgets.training.export import metadata
from tests.config.translated import remarks

GOLDEN = Path(__file__).parents[1] / "golden" / "saelens"  # written by the package itself


def test_a_cfg_says_which_positions_were_read():
    cfg = {"architecture": "topk", "d_in": 12, "d_sae": 64, "k": 2, "metadata": {
        "model_name": "gpt2", "hook_name": "blocks.1.hook_resid_post", "dataset_path": "owner/name",
        "exclude_special_tokens": False, "seqpos_slice": [5, None], "something": 1,
    }}  # fmt: skip
    found = from_saelens(cfg)
    assert found.config.activations.exclude_special_tokens is False
    assert list(found.config.activations.positions(8)) == [5, 6, 7]
    assert "not known" in remarks(found)["metadata.something"]


def test_the_configuration_of_a_saved_sae():
    path = GOLDEN / "batchtopk_exported" / "cfg.json"
    data = json.loads(path.read_text())
    data["metadata"].update(model_name="gpt2", hook_name="blocks.1.hook_resid_post", context_size=64)
    data["metadata"].update(training_architecture="batchtopk", training_architecture_details={"k": 5})
    found = from_saelens(data, corpus="demo")
    assert (found.config.sae.architecture, found.config.sae.k, found.config.context_size) == ("batchtopk", 5, 64)
    assert "does not record learning rate" in remarks(found, "lost")["metadata.lr"]
    assumed = remarks(found, "lost")["metadata.training_architecture_details"]
    assert assumed.endswith("decoder_init_norm 0.1, aux_loss_coefficient 1.0, rescale_acts_by_decoder_norm True, "
                            "topk_threshold_lr 0.01.")  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        from_saelens(data)
    assert caught.value.where == "metadata.dataset_path"


@pytest.mark.parametrize(
    ("sae", "normalize"),
    [
        ({"architecture": "standard", "l1_coefficient": 2.0, "p_end": 0.2}, "layer_norm"),
        (
            {"architecture": "matryoshka", "k": 4, "widths": [8, 16], "aux_coefficient": 0.5},
            "constant_norm_rescale",
        ),
        ({"architecture": "jumprelu", "sparsity_loss": "tanh", "bandwidth": 0.5}, "expected_average_only_in"),
        ({"architecture": "skip", "skip_scale": 0.25, "learn_skip": True}, "expected_average_only_in"),
        ({"architecture": "transcoder", "l1_coefficient": 3.0}, "expected_average_only_in"),
    ],
)
def test_what_this_package_wrote_beside_an_sae_comes_over_in_its_own_names(sae, normalize):
    out = {"hook_name_out": "blocks.1.hook_mlp_out"} if sae["architecture"] == "transcoder" else {}
    wanted = TrainingConfig(
        model="demo", hook_name="blocks.1.mlp.hook_in", sae={"d_sae": 64, **sae}, tokens=50_000, seed=3, **out,
        activations={"normalize": normalize, "seqpos_slice": "1:", "exclude_token_ids": [7]},
    )  # fmt: skip
    data = metadata(wanted, model_name="demo", model_class="LlamaForCausalLM", tokens=50_000, metrics={})
    found = from_saelens({"architecture": "jumprelu", "d_in": 256, "d_sae": 64, "metadata": data})
    assert found.config == wanted
    assert list(remarks(found)) == ["metadata.lr"]


def test_what_a_cfg_does_not_record_of_its_loss_is_said():
    plain = json.loads((GOLDEN / "standard" / "cfg.json").read_text())
    found = from_saelens(plain, corpus="demo")
    assert found.config.sae.l1_coefficient == 1.0  # SAELens' default
    assumed = remarks(found, "lost")["metadata.training_architecture_details"]
    assert assumed.endswith("decoder_init_norm 0.1, l1_coefficient 1.0, l1_warm_up_steps 0, lp_norm 1.0.")
    plain["metadata"]["training_architecture_details"] = {
        "decoder_init_norm": None, "l1_coefficient": 3.0, "lp_norm": 0.5, "l1_warm_up_steps": 7,
    }  # fmt: skip
    whole = from_saelens(plain, corpus="demo")
    assert (whole.config.sae.l1_coefficient, whole.config.sae.lp_norm) == (3.0, 0.5)
    assert set(remarks(whole, "lost")) == {"metadata.lr"}
    assert "√2" in remarks(whole, "changed")["decoder_init_norm"]


def _transcoder(architecture, **metadata):
    between = {"hook_name": "blocks.2.ln2.hook_normalized", "hook_name_out": "blocks.2.hook_mlp_out", **metadata}
    return {
        "architecture": architecture, "d_in": 12, "d_sae": 64, "d_out": 12, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"model_name": "gpt2", "dataset_path": "owner/name", **between},
    }  # fmt: skip


@pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder"])
def test_a_transcoder_is_trained_between_its_places(architecture):
    found = from_saelens(_transcoder(architecture))
    config = found.config
    assert (config.sae.architecture, config.sae.d_sae, config.activations.normalize) == (architecture, 64, "none")
    assert config.hook_names == ("blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_out")
    assert "SAELens trains none" in remarks(found, "changed")["architecture"]
    assert set(remarks(found, "lost")) == {"metadata.lr"}
    given = from_saelens(_transcoder(architecture, hook_name_out=None), hook_name_out="blocks.3.hook_mlp_out")
    assert given.config.hook_name_out == "blocks.3.hook_mlp_out"


@pytest.mark.parametrize(
    ("architecture", "metadata", "where", "text"),
    [
        ("jumprelu_transcoder", {}, "architecture", "trained with ReLU and an L1 penalty"),
        ("jumprelu_skip_transcoder", {}, "architecture", "Train a transcoder or skip_transcoder between the same"),
        ("matching_pursuit", {}, "architecture", "training of matching_pursuit cannot be translated"),
        ("transcoder", {"hook_name_out": None}, "hook_name_out", "Enter its hook name"),
        ("transcoder", {"hook_name_out": "blocks.2.mlp.hook_post"}, "metadata.hook_name_out", "not a hook point"),
    ],
)
def test_transcoders_that_cannot_be_trained_name_what_stands_in_the_way(architecture, metadata, where, text):
    with pytest.raises(ConfigError, match=text) as caught:
        from_saelens(_transcoder(architecture, **metadata))
    assert caught.value.where == where
