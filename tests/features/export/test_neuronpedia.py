"""Files for Neuronpedia: held to the fields of its own tools, to a batch that the real converter wrote, and to what its
importer does with the lines."""

import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.errors import ConfigError, StorageError
from saewidgets.features.export import (
    Effects,
    EffectsOf,
    NeuronpediaTarget,
    TokenEffect,
    export_neuronpedia,
    export_neuronpedia_batches,
)
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.read import FeatureStore
from saewidgets.sae import SAE
from tests.features.export.examples import NOTES
from tests.features.store.made import D

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "sae_dashboard"
NAMES = {"model_id": "gpt2-small", "sae_set": "res-tiny"}
TARGET = NeuronpediaTarget("gpt2-small", "res-tiny", creator="A. Person", url="https://example.org", hf_path="a/b.pt")


STATISTICS = set(
    """neuron_alignment_indices neuron_alignment_values neuron_alignment_l1 correlated_neurons_indices
    correlated_neurons_pearson correlated_neurons_l1 correlated_features_indices correlated_features_pearson
    correlated_features_l1 neg_str neg_values pos_str pos_values frac_nonzero freq_hist_data_bar_heights
    freq_hist_data_bar_values logits_hist_data_bar_heights logits_hist_data_bar_values decoder_weights_dist""".split()
)
COLUMNS = {
    name: set(columns.split())
    for name, columns in {
        "release": "name description descriptionShort urls creatorName creatorNameShort creatorId visibility createdAt",
        "model": """id instruct displayNameShort displayName creatorId visibility inferenceEnabled layers
            neuronsPerLayer owner createdAt updatedAt""",
        "sourceset": """modelId name description type creatorName creatorId urls releaseName hasDashboards visibility
            createdAt""",
        "source": """id modelId setName creatorId hasDashboards inferenceEnabled visibility num_prompts
            num_tokens_in_prompt dataset hfRepoId hfFolderId createdAt""",
        "features": """modelId layer index sourceSetName creatorId createdAt maxActApprox hasVector vector
            vectorDefaultSteerStrength hookName topkCosSimIndices topkCosSimValues """ + " ".join(STATISTICS),
        "activations": """id tokens modelId layer index maxValue maxValueTokenIndex minValue values dfaValues lossValues
            creatorId createdAt binMin binMax binContains qualifyingTokenIndex""",
        "explanations": "id modelId layer index description authorId createdAt",
    }.items()
}
"""What Neuronpedia's importer reads (``apps/webapp/app/api/admin/import/route.ts`` and ``lib/db/import.ts`` of
hijohnnylin/neuronpedia at ebb8426): the columns of ``prisma/schema.prisma`` that its converter fills."""


def strict(path: Path) -> Any:
    """JSON without NaN, Infinity or doubled keys."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(items)) == len(items)
        return dict(items)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(path.read_text("utf-8"), parse_constant=refuse, object_pairs_hook=pairs)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def test_batches(store: FeatureStore, logits: EffectsOf, sae: SAE, tmp_path: Path) -> None:
    folder = export_neuronpedia_batches(
        store, None, tmp_path / "np", **NAMES, logits=logits, sae=sae, dataset="tiny text", per_batch=16
    )
    assert sorted(p.name for p in folder.iterdir()) == ["batch-0.json", "batch-1.json", "batch-2.json"]
    real = strict(GOLDEN / "jumprelu" / "batch-0.json")  # of the real converter
    of_real = {key: type(value) for key, value in real["features"][0].items()}
    in_real = {key for key in real["features"][0]["activations"][0] if not key.startswith("dfa_")}
    features = []
    for number in range(3):
        batch = strict(folder / f"batch-{number}.json")
        assert set(batch) == set(real)
        names = [batch[name] for name in ("model_id", "layer", "sae_set", "sae_id_suffix")]
        assert names == ["gpt2-small", 1, "res-tiny", None]
        features += batch["features"]
    assert [f["feature_index"] for f in features] == list(range(D))
    for feature in features:
        assert {key: type(value) for key, value in feature.items()} == of_real
        for side in ("pos", "neg"):
            assert len(feature[f"{side}_str"]) == len(feature[f"{side}_values"])
        data = feature_data(store, feature["feature_index"])
        assert feature["frac_nonzero"] == pytest.approx(data.density, rel=1e-4)
        assert sum(feature["freq_hist_data_bar_heights"]) == data.fired
        assert len(feature["freq_hist_data_bar_heights"]) == len(feature["freq_hist_data_bar_values"])
        assert len(feature["activations"]) == sum(len(g.examples) for g in data.groups)
        for activation in feature["activations"]:
            assert set(activation) == in_real
            assert len(activation["tokens"]) == len(activation["values"]) > activation["qualifying_token_index"] >= 0
        top = [a for a in feature["activations"] if a["bin_min"] == -1]
        peaks = [a["values"][a["qualifying_token_index"]] for a in feature["activations"]]
        assert peaks[: len(top)] == pytest.approx([e.value for e in data.top], rel=1e-4)
        for activation, example in zip(top, data.top, strict=True):
            assert "".join(activation["tokens"]) == "".join(example.pieces)
            assert activation["bin_contains"] == -1
        for activation, value in zip(feature["activations"][len(top) :], peaks[len(top) :], strict=True):
            assert activation["bin_min"] < value <= activation["bin_max"] * 1.0001
            assert 0 < activation["bin_contains"] <= 1
        row = sae.W_dec.detach().numpy()[feature["feature_index"]]
        np.testing.assert_allclose(feature["vector"], row, rtol=1e-6)
        assert feature["neuron_alignment_indices"][0] == int(np.argmax(row))
    assert (features[0]["activations"], features[0]["frac_nonzero"]) == ([], 0)
    assert features[3]["pos_values"][0] == 2
    assert features[3]["neg_str"][1] == "\ufffd"  # PostgreSQL has no null characters
    assert features[7]["pos_str"] == []


def test_an_export_has_the_columns_for_the_importer(
    store: FeatureStore, logits: EffectsOf, sae: SAE, tmp_path: Path
) -> None:
    folder = export_neuronpedia(store, None, NOTES, tmp_path, TARGET, logits=logits, sae=sae, per_batch=25)
    assert folder == tmp_path / "gpt2-small" / "1-res-tiny"
    rows = {name: strict(folder / f"{name}.jsonl") for name in ("release", "model", "sourceset", "source")}
    assert {name: set(row) for name, row in rows.items()} == {name: COLUMNS[name] for name in rows}
    assert rows["source"]["id"] == "1-res-tiny"
    assert rows["sourceset"]["releaseName"] == rows["release"]["name"]
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("features", "activations", "explanations"):
        files = sorted((folder / name).iterdir())
        assert all(re.fullmatch(r"batch-\d+\.jsonl\.gz", file.name) for file in files)
        for file in files:
            batch = lines(file)
            assert {tuple(row) for row in batch} == {tuple(batch[0])}  # columns are those of the first line
            assert set(batch[0]) == COLUMNS[name]
            assert {row["layer"] for row in batch} == {"1-res-tiny"}
            found[name] = found.get(name, []) + batch
    assert [row["index"] for row in found["features"]] == [str(i) for i in range(D)]
    assert len({row["id"] for row in found["activations"]}) == len(found["activations"])
    assert {row["index"]: row["description"] for row in found["explanations"]} == {
        str(i): note.label for i, note in NOTES.items() if i < D
    }
    assert all(0 <= row["frac_nonzero"] <= 1 for row in found["features"])
    for row in found["activations"]:
        assert row["binContains"] == row["binMin"] == -1 or 0 < row["binContains"] <= 1
        assert 0 <= row["qualifyingTokenIndex"] < len(row["tokens"]) == len(row["values"])
        assert row["maxValue"] == max(row["values"]) == row["values"][row["maxValueTokenIndex"]]
    largest = {row["index"]: row["maxActApprox"] for row in found["features"]}
    assert largest["5"] == pytest.approx(float(np.float16(store.max[5])), rel=1e-4)  # values of examples are float16
    assert found["features"][5]["hookName"] == "blocks.1.hook_resid_post"
    assert found["features"][5]["vectorDefaultSteerStrength"] == largest["5"]


def test_exporting_again_gives_the_same_ids_and_keeps_other_sources(store: FeatureStore, tmp_path: Path) -> None:
    first = export_neuronpedia(store, [3, 5], None, tmp_path, TARGET)
    before = [row["id"] for row in lines(first / "activations" / "batch-0.jsonl.gz")]
    other = export_neuronpedia(store, [3], None, tmp_path, NeuronpediaTarget("gpt2-small", "res-tiny", suffix="l0-9"))
    assert other.name == "1-res-tiny__l0-9"
    again = export_neuronpedia(store, [3, 5], NOTES, tmp_path, TARGET)
    assert [row["id"] for row in lines(again / "activations" / "batch-0.jsonl.gz")] == before
    assert sorted(p.name for p in again.parent.iterdir()) == ["1-res-tiny", "1-res-tiny__l0-9"]
    assert not (first / "explanations" / "batch-1.jsonl.gz").exists()
    assert "vector" in lines(first / "features" / "batch-0.jsonl.gz")[0]


def test_hostile_tokens_reach_the_database_as_text(hostile: FeatureStore, tmp_path: Path) -> None:
    target = replace(TARGET, creator="A\ud800\0", dataset="\udfff", set_description='"}\n{"id": 1}')
    folder = export_neuronpedia(hostile, range(8), NOTES, tmp_path, target)
    for file in folder.glob("*.jsonl"):
        assert len(file.read_text("utf-8").splitlines()) == 1
    for file in folder.rglob("*.gz"):
        text = gzip.decompress(file.read_bytes()).decode("utf-8")
        assert "\\u0000" not in text
        assert not re.search(r"\\ud[89a-f]", text)
    tokens = {t for row in lines(folder / "activations" / "batch-0.jsonl.gz") for t in row["tokens"]}
    assert any("onerror" in token for token in tokens)


def test_nan_is_never_written(store: FeatureStore, tmp_path: Path) -> None:
    def broken(index: int) -> Effects:
        return Effects([TokenEffect(1, "a", math.nan)], [])

    with pytest.raises(ConfigError, match="NaN or infinite"):
        export_neuronpedia(store, [1], None, tmp_path, TARGET, logits=broken)
    assert not (tmp_path / "gpt2-small").exists() or not list((tmp_path / "gpt2-small").iterdir())


def test_names_that_neuronpedia_refuses(store: FeatureStore, tmp_path: Path) -> None:
    for names in ({"model_id": "GPT 2"}, {"model_id": "../up"}, {"sae_set": "a__b"}, {"sae_set": ""}):
        with pytest.raises(ConfigError, match="Neuronpedia"):
            export_neuronpedia_batches(store, [1], tmp_path / "np", **(NAMES | names))
    for suffix in ("../../up", "a/b", "a__b"):
        with pytest.raises(ConfigError, match="Neuronpedia"):
            export_neuronpedia(store, [1], None, tmp_path, NeuronpediaTarget("gpt2-small", "res", suffix=suffix))
        with pytest.raises(ConfigError, match="Neuronpedia"):
            export_neuronpedia_batches(store, [1], tmp_path / "np", **NAMES, sae_id_suffix=suffix)
    assert [p.name for p in tmp_path.iterdir() if p.name not in ("tokens", "ext")] == []


def test_only_a_folder_of_batches_is_replaced(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match=r"thesis\.tex"):
        export_neuronpedia_batches(store, [1], tmp_path / "full", **NAMES)
    export_neuronpedia_batches(store, None, tmp_path / "np", **NAMES, per_batch=20)
    export_neuronpedia_batches(store, [1], tmp_path / "np", **NAMES)
    assert [p.name for p in (tmp_path / "np").iterdir()] == ["batch-0.json"]
