"""SAELens' configurations of several SAEs: a group of the trainings that each would be alone."""

import json
from pathlib import Path

import pytest

from saewidgets.config.group import base_of, expand
from saewidgets.config.translate import from_saelens
from saewidgets.errors import ConfigError
from tests.config.translated import remarks, with_settings

GROUPS = Path(__file__).parents[1] / "golden" / "saelens_groups"  # written by the package itself
HOOKS = ["blocks.2.hook_resid_post", "blocks.6.hook_mlp_out", "blocks.3.attn.hook_z.5"]


def _golden(name):
    return json.loads((GROUPS / f"{name}.json").read_text(encoding="utf-8"))


def _several(name="mixed", **changes):
    """Of the recorded configuration; dotted names reach inside."""
    return with_settings(_golden(name)["several"], changes)


@pytest.mark.parametrize("name", ["mixed", "sweep"])
def test_each_is_trained_as_alone(name):
    golden = _golden(name)
    found = from_saelens(golden["several"])
    runs = expand(found.config, found.over)
    assert [run.name for run in runs] == list(golden["alone"])
    for run, (sae, alone) in zip(runs, golden["alone"].items(), strict=True):
        expected = from_saelens(alone).config
        if expected.from_pretrained is not None:  # a checkpoint of several has a folder for each
            expected = expected.replace(from_pretrained=f"{expected.from_pretrained}/{sae}")
        assert run.replace(name=None) == expected
    assert found.config.name is None
    assert not remarks(found, "lost")
    written = json.loads(json.dumps(found.to_data()))
    assert expand(base_of(written["config"], written["over"]), written["over"]) == runs


def test_what_differs_is_all_that_changes_and_what_is_said_of_all_is_said_once():
    found = from_saelens(_several("sweep"))
    assert found.over == {"name, sae.k": [["k8", 8], ["k16", 16], ["k32", 32]]}
    assert set(remarks(found)) == {
        "dataset_path", "n_batches_in_buffer", "saes", "saes.*.rescale_acts_by_decoder_norm",
    }  # fmt: skip
    assert str(found).startswith("gpt2-l6-batchtopk-k8 and 2 more, translated from SAELens")
    assert "saes.head.dtype" in remarks(from_saelens(_several()))


def test_changes_are_of_every_sae():
    found = from_saelens(_several(), hook_name="blocks.1.hook_resid_post", name="mine", **{"sae.d_sae": 48})
    runs = expand(found.config, found.over)
    assert [(run.name, run.hook_name, run.sae.d_sae) for run in runs] == [
        (f"mine-{sae}", "blocks.1.hook_resid_post", 48) for sae in ("wide", "sparse", "head")
    ]
    named = from_saelens(_several(**{"logger.run_name": "study"}))
    assert (named.config.name, named.over[next(iter(named.over))][0][0]) == ("study", "study-wide")
    tokens = {"corpus.kind": "tokens", "corpus.source": "lab/ids"}
    given = from_saelens(_several(), **tokens)
    assert (given.config.corpus.source, "dataset_path" in remarks(given)) == ("lab/ids", False)


def test_some_of_the_saes():
    two = from_saelens(_several(), saes=["head", "wide"])
    assert [run.hook_name for run in expand(two.config, two.over)] == [HOOKS[0], HOOKS[2]]
    one = from_saelens(_several(), saes=["head"])
    assert (one.over, one.config.name, one.config.hook_name) == ({}, "head", HOOKS[2])
    assert {"saes", "saes.head.dtype"} & set(remarks(one)) == {"saes.head.dtype"}


def test_an_sae_that_is_there_twice_is_trained_once():
    found = from_saelens(_several("sweep", **{"saes.k16.k": 8}))
    assert found.over == {"name, sae.k": [["k8", 8], ["k32", 32]]}
    assert "--saes k16 --seed 1" in remarks(found, "lost")["saes.k16"]
    assert from_saelens(_several("sweep"), **{"sae.k": 4}).over == {}


def test_scalings_that_differ_are_no_group_and_there_are_ways_out():
    data = _several("sweep", **{"saes.k16.normalize_activations": "layer_norm"})
    with pytest.raises(ConfigError, match=r"activations\.normalize \(k8, k32: none; k16: layer_norm\)") as caught:
        from_saelens(data)
    assert (caught.value.where, "--saes k8,k32" in str(caught.value)) == ("saes", True)
    assert "--set activations.normalize=none" in str(caught.value)
    assert len(from_saelens(data, saes=["k8", "k32"]).over["name, sae.k"]) == 2
    assert len(from_saelens(data, **{"activations.normalize": "none"}).over["name, sae.k"]) == 3


@pytest.mark.parametrize(
    ("settings", "changes", "where"),
    [
        ({"saes": []}, {}, "saes"), ({"saes": {}}, {}, "saes"), ({"saes.wide": 3}, {}, "saes.wide"),
        ({"saes.wide.d_sae": "x"}, {}, "saes.wide.d_sae"), ({"saes.sparse.k": 9999}, {}, "saes.sparse.k"),
        ({"saes.head.architecture": "temporal"}, {}, "saes.head.architecture"), ({}, {"sae.k": 3}, "saes.wide.k"),
        ({"hook_names": {"wide": "blocks.0.hook_resid_post"}}, {}, "hook_names.sparse"),
        ({"hook_names.wide": "blocks.0.attn.hook_q"}, {}, "hook_names.wide"), ({"hook_names": 3}, {}, "hook_names"),
        ({"hook_names.other": "blocks.0.hook_resid_post"}, {}, "hook_names"),
        ({"hook_head_indices": {"other": 1}}, {}, "hook_head_indices"),
        ({"hook_head_indices.head": -1}, {}, "hook_head_indices.head"), ({}, {"tokens": 3}, "tokens"),
        ({}, {"saes": ["nope"]}, "saes"), ({}, {"saes": "wide"}, "saes"), ({}, {"saes": []}, "saes"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_names_its_setting(settings, changes, where):
    with pytest.raises(ConfigError) as caught:
        from_saelens(_several(**settings), **changes)
    assert caught.value.where == where


def test_one_sae_is_not_to_choose_from():
    with pytest.raises(ConfigError) as caught:
        from_saelens(_golden("sweep")["alone"]["k8"], saes=["k8"])
    assert caught.value.where == "saes"
