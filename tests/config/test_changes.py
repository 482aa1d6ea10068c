"""Changes by dotted name: on configurations, presets, and what was translated from other packages."""

import json
from pathlib import Path

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.config.changed import changed_data
from saewidgets.config.presets import preset
from saewidgets.config.translate import from_saelens
from saewidgets.errors import ConfigError

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


def test_what_is_changed_is_a_copy():
    data = {"sae": {"architecture": "standard", "d_sae": 8, "l1_coefficient": 3}, "corpus": "demo"}
    before = json.dumps(data)
    changed = changed_data(data, [("sae.k", 2), ("sae.architecture", "topk"), ("corpus.kind", "text"), ("a.b", 1)])
    assert changed["sae"] == {"d_sae": 8, "k": 2, "architecture": "topk"}
    assert (changed["corpus"], changed["a"], json.dumps(data)) == ({"kind": "text"}, {"b": 1}, before)


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
def test_changes_repair_what_was_translated(broken, changes, expected):
    data = json.loads((RUNS / "topk.json").read_text())
    sae = {**data["sae"], **broken.pop("sae", {}), "d_sae": 32}
    with pytest.raises(ConfigError):
        from_saelens({**data, **broken, "sae": sae})
    config = from_saelens({**data, **broken, "sae": sae}, **changes).config
    name, value = expected
    assert {**config.to_data(), **config.optimizer.to_data(), **config.sae.to_data()}[name] == value


@pytest.mark.parametrize(("content", "words"), [("null", "null"), ("3", "a number"), ("[]", "a list")])
def test_a_file_that_holds_no_settings_says_what_it_holds(content, words, tmp_path):
    (tmp_path / "cfg.json").write_text(content)
    with pytest.raises(ConfigError, match=f"This is {words}, not a SAELens configuration"):
        from_saelens(tmp_path / "cfg.json")
