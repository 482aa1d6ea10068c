"""A setting that does not exist: what may have been meant; changes by dotted names."""

import json
from pathlib import Path

import pytest

from saewidgets.config import JumpReLUConfig, TopKConfig, TrainingConfig
from saewidgets.config.templates import preset
from saewidgets.config.translate import from_saelens
from saewidgets.config.validation import ELSEWHERE, _settings
from saewidgets.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "field", "meant"),
    [
        ({"context_length": 64}, "context_length", "context_size"),  # as other packages call it
        ({"dtype": "float32"}, "dtype", "precision"),
        ({"l1": 5}, "l1", "sae.l1_coefficient"),
        ({"lr": 1e-3}, "lr", "optimizer.lr"),  # one that is elsewhere
        ({"optimizer": {"batch_size": 64}}, "optimizer.batch_size", "batch_size"),
        ({"modl": "demo"}, "modl", "model"),  # mistyped
        # What only another architecture has is not proposed.
        ({"sae": {"architecture": "topk", "l1": 5}}, "sae.l1", None),
        ({"sae": {"architecture": "topk", "kk": 5}}, "sae.kk", "k"),
        # Choices have no part in names.
        ({"corpus": {"kind": "hub", "path": "a/b", "splt": "x"}}, "corpus.splt", "split"),
        ({"wavelength": 3}, "wavelength", None),
        # Words in common do not make names close.
        ({"sae": {"architecture": "topk", "l2_coefficient": 5}}, "sae.l2_coefficient", None),
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
def test_errors_use_the_names_that_were_typed(settings, field, said):
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
    quadratic = JumpReLUConfig(d_sae=d_sae, sparsity_loss="quadratic")
    assert (quadratic.aim, quadratic.coefficient) == (min(50, d_sae / 8), 1.0)  # it aims by itself
    with pytest.raises(ConfigError, match=f"d_sae is {d_sae:,}. Enter at most {d_sae:,}."):
        JumpReLUConfig(d_sae=d_sae, target_l0=30_000)


def test_names_of_other_packages_lead_to_settings_and_are_none_themselves():
    every = set(_settings(TrainingConfig))
    assert set(ELSEWHERE.values()) <= every
    assert not set(ELSEWHERE) & {dotted for dotted in every if "." not in dotted}


RUNS = Path(__file__).parents[1] / "golden" / "saelens_runs"


@pytest.mark.parametrize(
    "change", [TrainingConfig().replace, lambda **changes: preset("gpt2-small", **changes)], ids=["replace", "preset"]
)
@pytest.mark.parametrize(
    ("name", "where", "words"),
    [
        ("optimiser.lr", "optimiser", "There is no such setting. Did you mean optimizer?"),
        ("optimizer.learning_rte", "optimizer.learning_rte", "There is no such setting."),
        ("tokens.x", "tokens.x", "tokens holds a value, so nothing can be set inside it."),
        ("hook_name_out.x", "hook_name_out.x", "hook_name_out holds a value, so nothing can be set inside it."),
    ],
)
def test_a_name_that_is_none_is_named(change, name, where, words):
    with pytest.raises(ConfigError) as caught:
        change(**{name: 1})
    assert (caught.value.where, caught.value.what) == (where, words)


def test_a_file_may_begin_with_a_byte_order_mark_and_has_every_key_once(tmp_path):
    text = (RUNS / "topk.json").read_text()
    (tmp_path / "marked.json").write_text(text, encoding="utf-8-sig")
    assert from_saelens(tmp_path / "marked.json").config == from_saelens(RUNS / "topk.json").config
    (tmp_path / "twice.json").write_text('{"lr": 1, ' + text.strip()[1:])
    with pytest.raises(ConfigError, match="a key is repeated"):
        from_saelens(tmp_path / "twice.json")


@pytest.mark.parametrize(
    ("broken", "changes", "expected"),
    [
        ({"training_tokens": 0}, {"tokens": 100_000}, ("tokens", 100_000)),
        ({"lr": 1e-4, "lr_end": 1e-3, "lr_scheduler_name": "cosineannealing"}, {"optimizer.lr": 1e-2},
         ("lr_end", 1e-3)),
        ({"hook_name": "blocks.1.attn.hook_q"}, {"hook_name": "blocks.1.hook_mlp_out"},
         ("hook_name", "blocks.1.hook_mlp_out")),
        ({"model_name": ""}, {"model": "demo"}, ("model", "demo")),
        ({"sae": {"architecture": "matryoshka_batchtopk", "matryoshka_widths": [32]}},
         {"sae.architecture": "batchtopk"}, ("architecture", "batchtopk")),
        ({"sae": {"architecture": "abstopk", "k": 5}}, {"sae.architecture": "topk"}, ("k", 5)),
        ({"sae": {"architecture": "temporal"}}, {"sae.architecture": "skip"}, ("architecture", "skip")),
    ],
)  # fmt: skip
def test_changes_repair_a_translated_configuration(broken, changes, expected):
    data = json.loads((RUNS / "topk.json").read_text())
    sae = {**data["sae"], **broken.pop("sae", {}), "d_sae": 32}
    with pytest.raises(ConfigError):
        from_saelens({**data, **broken, "sae": sae})
    config = from_saelens({**data, **broken, "sae": sae}, **changes).config
    name, value = expected
    assert {**config.to_data(), **config.optimizer.to_data(), **config.sae.to_data()}[name] == value
