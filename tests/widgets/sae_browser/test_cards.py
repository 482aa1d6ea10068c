"""Numbers of strangers as cards and histograms."""

import math
from typing import Any

import pytest

from saewidgets.records import SAERecord
from saewidgets.widgets.messages.saes import SaeQuery
from saewidgets.widgets.sae_browser.state import (
    architecture_words,
    card_of,
    facets_of,
    facts_of,
    histogram_of,
    histograms_of,
    measured_facts,
)

WORDS = ("Thresholds", "threshold", "latents by their threshold")


def make_sae(sae_id: str, name: str, **changes: Any) -> SAERecord:
    values: dict[str, Any] = {
        "id": sae_id, "name": name, "source": "local", "model": "gpt2", "hook_name": "blocks.6.hook_resid_post",
        "layer": 6, "architecture": "topk", "d_in": 768, "d_sae": 16_384, "format": "saelens", "path": "/saes",
        "training_id": None, "size_bytes": 101_000_000, "host": "test", "created_at": 1e9, "dtype": "float32",
        "d_out": 768,
    }  # fmt: skip
    return SAERecord(**{**values, **changes})


LINEAR = {"edges": [2.4e-5 + i * 0.5 for i in range(11)], "counts": [5] * 10, "min": 2.4e-5, "max": 5.0, "mean": 0.79}
ALIKE = {"edges": [0.999995, 1.0, 1.000005], "counts": [70, 30], "min": 0.999996, "max": 1.000004, "mean": 1.0}
SAID_ONCE = "Thresholds: 100 latents by their threshold, all 1.00 and sd 1.2e-6."


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (LINEAR, {"log": False, "note": "mean 0.790, 2.4e-5 to 5.00"}),  # however far equal bins reach
        ({"edges": [10.0**i for i in range(-6, 0)], "counts": [1] * 5}, {"log": True}),
        # values that cannot be told apart are said once
        ({**ALIKE, "sd": 1.2e-6}, {"note": "all 1.00, sd 1.2e-6", "summary": SAID_ONCE}),
        ({**ALIKE, "min": 1.0, "max": 1.0, "sd": 0.0}, {"note": "all 1.00"}),
        *(
            (broken, None)
            for broken in (
                None, "text", {}, {"edges": [], "counts": []}, {"edges": [0.0, 1.0], "counts": [1, 2]},
                {"edges": [0.0, math.nan], "counts": [1]},
            )
        ),
    ],
)  # fmt: skip
def test_histograms(data: Any, shown: dict[str, Any] | None) -> None:
    found = histogram_of(data, *WORDS)
    assert (found and {name: getattr(found, name) for name in shown or ()}) == shown


def test_architectures() -> None:
    assert architecture_words(make_sae("s", "s", metadata={"settings": {"k": 64}})) == "TopK, k 64"
    assert architecture_words(make_sae("s", "s", metadata={"config": {"sae": {"k": 32}}})) == "TopK, k 32"
    jumprelu = make_sae("s", "s", architecture="jumprelu", metadata={"latest": {"val_l0": 58.44, "l0": 1.0}, "k": 3})
    assert architecture_words(jumprelu) == "JumpReLU, L0 58.4"
    odd = make_sae("s", "s", architecture="<b>", metadata={"settings": "none", "latest": 3, "config": []})
    assert architecture_words(odd) == "<b>"


@pytest.mark.parametrize(
    ("metadata", "value", "label"),
    [
        ({"latest": {"val_fvu": 0.1, "fvu": 0.2}, "fvu": 0.3}, 0.1, "FVU (held out)"),
        ({"latest": {"fvu": 0.2}, "fvu": 0.3}, 0.2, "FVU (training)"),
        ({"fvu": 0.3}, 0.3, "FVU"),
        ({}, None, "FVU"),
        *(({"fvu": value}, None, "FVU") for value in (None, "3", True, math.nan, math.inf, [3], {})),
    ],
)
def test_an_fvu_names_its_tokens(metadata: dict[str, Any], value: float | None, label: str) -> None:
    record = make_sae("s", "s", metadata=metadata)
    card = card_of(record)
    assert (card.fvu, card.fvu_label) == (value, label)
    facts = measured_facts(record, {"measured": {"fvu": 0.5}})
    assert [fact.label for fact in facts] == [label]


def test_facts_about_the_source() -> None:
    hub = {"repo_id": "google/gemma-scope", "repo_path": "layer_12/width_16k", "revision": "fd571b47c1c6" + 28 * "0"}
    facts = {fact.label: fact.value for fact in facts_of(make_sae("s", "s", **hub))}
    assert [facts[label] for label in ("Repository", "Variant", "Revision")] == [
        "google/gemma-scope", "layer_12/width_16k", "fd571b47c1c6",
    ]  # fmt: skip


def test_long_texts_are_cut() -> None:
    card = card_of(make_sae("s", "n" * 5000, model="m" * 5000, hook_name="h" * 5000, tags=("t" * 500,) * 50))
    assert max(len(card.name), len(card.model or ""), len(card.hook_name or ""), len(card.site)) <= 300
    assert len(card.tags) == 20
    assert len(card.tags[0]) == 60


def test_facets_leave_out_unknown_values_and_keep_chosen_ones() -> None:
    known = {"source": {"local": 2}, "model": {None: 1, "": 2, "gpt2": 3}, "layer": {0: 1, None: 4}}
    query = SaeQuery(source="trained", architecture="topk", layer=0)  # the other filters leave no trained one
    found = facets_of(known, query).model_dump()
    shown = {name: [(one["value"], one["label"], one["count"]) for one in found[name]] for name in (*known, "format")}
    assert shown == {
        "source": [("local", "Local", 2), ("trained", "Trained", 0)], "model": [("gpt2", "gpt2", 3)],
        "layer": [("0", "0", 1)], "format": [],
    }  # fmt: skip
    assert [(one["label"], one["count"]) for one in found["architecture"]] == [("TopK", 0)]


def test_statistics_in_words() -> None:
    density = {"edges": [1e-6, 1e-4, 1e-2], "counts": [3, 4], "min": 1.234e-6, "max": 0.01234, "mean": 0.02345}
    assert histograms_of({"density": density})[0].note == "mean 0.023, 1.2e-6 to 0.012"
    density = {"edges": [1e-6, 1e-4, 1e-2], "counts": [5, 1640], "mean": 3e-4, "zeros": 412, "dense": 61}
    numbers = {"b_dec_norm": 3.25, "dead": 412, "l0": 82.1, "measured": {"fvu": 0.118}, "density": density}
    facts = measured_facts(make_sae("s", "s", features_extracted=16_384), numbers)
    assert {fact.label: fact.value for fact in facts} == {
        "Features extracted": "16,384 of 16,384", "Dead / dense": "412 (2.5 %) / 61 above 10 %",
        "L0": "82.1 active per token", "FVU": "0.118", "Norm of b_dec": "3.25",
    }  # fmt: skip
    (found,) = histograms_of({"density": density})
    assert (found.log, found.zeros, found.zeros_label) == (True, 412, "never")
    for edges, log in (([0.01, 0.02, 0.04], True), ([10.0, 10.1, 10.2], False), ([0.01, 0.02, 0.03], False)):
        (found,) = histograms_of({"density": density | {"edges": edges}})
        assert found.log is log
    (found,) = histograms_of({"density": density | {"edges": [-1.6, 0.0, 1.6], "min": -1.6, "max": 1.6}})
    assert "−1.60 to 1.60" in found.summary or "−1.6 to 1.6" in found.summary
    assert "2,057 latents by the share of tokens on which they fire" in found.summary
