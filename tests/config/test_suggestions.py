"""A setting that there is not: what may have been meant."""

import pytest

from saewidgets.config import JumpReLUConfig, TopKConfig, TrainingConfig
from saewidgets.config.validation import ELSEWHERE, _settings
from saewidgets.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "field", "meant"),
    [
        ({"context_length": 64}, "context_length", "context_size"),  # as other packages call it
        ({"dtype": "float32"}, "dtype", "precision"),
        ({"hook_point": "blocks.0.hook_resid_post"}, "hook_point", "hook_name"),
        ({"l1": 5}, "l1", "sae.l1_coefficient"),
        ({"lr": 1e-3}, "lr", "optimizer.lr"),  # one that is elsewhere
        ({"optimizer": {"batch_size": 64}}, "optimizer.batch_size", "batch_size"),
        ({"modl": "demo"}, "modl", "model"),  # mistyped
        ({"optimizer": {"lr_warm_up_step": 3}}, "optimizer.lr_warm_up_step", "lr_warm_up_steps"),
        ({"optimiser": {"lr": 1}}, "optimiser", "optimizer"),
        ({"sae": {"architecture": "standard", "l1": 5}}, "sae.l1", "l1_coefficient"),
        # What only another architecture has is not proposed.
        ({"sae": {"architecture": "topk", "l1": 5}}, "sae.l1", None),
        ({"sae": {"architecture": "topk", "kk": 5}}, "sae.kk", "k"),
        ({"hook": "blocks.0.hook_resid_post"}, "hook", "hook_name"),
        # Choices have no part in names.
        ({"corpus": {"kind": "hub", "path": "a/b", "splt": "x"}}, "corpus.splt", "split"),
        ({"corpus": {"kind": "tokens", "source": "x", "colum": "x"}}, "corpus.colum", "column"),
        ({"wavelength": 3}, "wavelength", None),
        # Words in common do not make names close.
        ({"sae": {"architecture": "topk", "l2_coefficient": 5}}, "sae.l2_coefficient", None),
        ({"sae": {"architecture": "topk", "aux_coeficient": 5}}, "sae.aux_coeficient", "aux_coefficient"),
        ({"sae": {"architecture": "topk", "coefficient": 5}}, "sae.coefficient", "aux_coefficient"),
    ],
)
def test_the_nearest_setting_is_named(settings, field, meant):
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**settings)
    assert caught.value.where == field
    assert caught.value.what == "There is no such setting." + (f" Did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(
    ("settings", "field", "said"),
    [
        ({"sae": {"architecture": "topk", "l1_coefficient": 5}}, "sae.l1_coefficient",
         "topk has no such setting. It belongs to standard, gated, skip, transcoder and skip_transcoder."),
        ({"sae": {"architecture": "standard", "target_l0": 5}}, "sae.target_l0",
         "standard has no such setting. It belongs to jumprelu."),
        ({"corpus": {"kind": "demo", "split": "x"}}, "corpus.split",
         "demo has no such setting. It belongs to hub and tokens."),
        ({"corpus": {"kind": "tokens", "source": 3}}, "corpus.source",
         "File, folder or dataset is 3. Enter some text."),
        ({"corpus": {"kind": "tokens", "source": " "}}, "corpus.source",
         "The dataset is missing. Give a file, folder or dataset."),
        ({"corpus": {"kind": "activations", "store_id": None}}, "corpus.store_id", None),
        ({"tokens": {"a": 1}}, "tokens",
         "Tokens is a table of settings. Enter a whole number of at least 1; 10,000,000 is usual."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_the_names_that_are_typed(settings, field, said):
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**settings)
    assert caught.value.where == field
    assert said in (None, caught.value.what)


@pytest.mark.parametrize(
    ("d_sae", "advice"),
    [(1, "Enter 1."), (16, "Enter 1 to 16."), (32, "Enter 1 to 32; 32 is usual."),
     (20_000, "Enter 1 to 20,000; 32 is usual.")],
)  # fmt: skip
def test_only_a_k_that_fits_is_advised(d_sae, advice):
    with pytest.raises(ConfigError) as caught:
        TopKConfig(d_sae=d_sae, k=30_000)
    assert caught.value.what == f"k is 30,000 but d_sae is {d_sae:,}. {advice}"
    with pytest.raises(ConfigError) as caught:
        JumpReLUConfig(d_sae=d_sae, sparsity_loss="quadratic")
    assert ("32 to 100 is usual" in caught.value.what) == (d_sae > 100)


def test_names_of_other_packages_lead_to_settings_and_are_none_themselves():
    every = set(_settings(TrainingConfig))
    assert set(ELSEWHERE.values()) <= every
    assert not set(ELSEWHERE) & {dotted for dotted in every if "." not in dotted}
