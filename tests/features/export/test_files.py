"""The table, the vectors, and SAEDashboard's JSON."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from saewidgets.errors import ConfigError
from saewidgets.features.export import EffectsOf, export_dashboard, export_table, export_vectors
from saewidgets.features.export.table_and_vectors import COLUMNS
from saewidgets.features.store.feature_data import feature_data
from saewidgets.features.store.read import FeatureStore
from saewidgets.sae import SAE, create_sae
from tests.features.export.examples import EVIL, NOTES
from tests.features.store.made import D


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_the_table_has_every_number(store: FeatureStore, tmp_path: Path) -> None:
    rows = read(export_table(store, None, NOTES, tmp_path / "features.csv"))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == D
    for index, row in enumerate(rows):
        data = feature_data(store, index)
        assert int(row["index"]) == index
        assert (int(row["fired"]), float(row["density"]), float(row["mean"])) == (data.fired, data.density, data.mean)
        assert float(row["max"]) == pytest.approx(data.max)
        assert (int(row["documents"]), int(row["contexts"])) == (data.n_documents, data.n_contexts)
    assert (rows[3]["label"], rows[3]["score"], rows[3]["starred"]) == ("kings & queens", "0.86", "1")
    assert rows[4]["score"] == ""
    assert rows[6]["label"] == "'=HYPERLINK(1)"
    assert rows[0]["token_1"] == ""
    chosen = read(export_table(store, [9, 2, 9], None, tmp_path / "some.csv"))
    assert [row["index"] for row in chosen] == ["9", "2"]


def test_a_table_of_hostile_tokens_is_a_table(hostile: FeatureStore, tmp_path: Path) -> None:
    rows = read(export_table(hostile, None, NOTES, tmp_path / "features.csv"))
    assert len(rows) == D
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell[:1] in ("=", "+", "@") for cell in cells)
    assert any("[U+202E]" in cell for cell in cells)
    assert rows[5]["label"] == EVIL


def test_vectors_are_the_rows_of_the_decoder(store: FeatureStore, sae: SAE, tmp_path: Path) -> None:
    folder = export_vectors(store, sae, [5, 3], NOTES, tmp_path / "vectors")
    vectors = load_file(folder / "vectors.safetensors")["vectors"]
    np.testing.assert_array_equal(vectors, sae.W_dec.detach().numpy()[[5, 3]])
    index = json.loads((folder / "vectors.json").read_text())
    assert (index["model"], index["hook_name"], index["d_sae"], index["d_out"]) == (
        "tiny", "blocks.1.hook_resid_post", D, 8,
    )  # fmt: skip
    assert [(f["row"], f["index"]) for f in index["features"]] == [(0, 5), (1, 3)]
    assert index["features"][1]["label"] == "kings & queens"
    assert index["features"][0]["max"] == float(store.max[5])
    assert index["features"][0]["norm"] == pytest.approx(np.linalg.norm(vectors[0]))
    export_vectors(store, sae, None, None, folder)  # takes the place of its own
    assert load_file(folder / "vectors.safetensors")["vectors"].shape == (D, 8)


def test_vectors_of_another_sae_or_of_broken_weights(store: FeatureStore, sae: SAE, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="extraction is of an SAE with 40"):
        export_vectors(store, create_sae("topk", d_in=8, d_sae=50, k=4), [1], None, tmp_path / "v")
    with torch.no_grad():
        sae.W_dec[4, 2] = torch.nan
    with pytest.raises(ConfigError, match="feature 4 "):
        export_vectors(store, sae, [3, 4], None, tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_sae_dashboards_json(store: FeatureStore, sae: SAE, logits: EffectsOf, tmp_path: Path) -> None:
    path = export_dashboard(store, [3, 0, 7], tmp_path / "data.json", logits=logits, sae=sae)
    data = json.loads(path.read_text())
    assert list(data["feature_data_dict"]) == ["3", "0", "7"]
    feature, numbers = data["feature_data_dict"]["3"], feature_data(store, 3)
    assert feature["acts_histogram_data"]["title"] == f"ACTIVATIONS<br>DENSITY = {numbers.density:.3%}"
    assert sum(feature["acts_histogram_data"]["bar_heights"]) == numbers.fired
    assert feature["logits_table_data"]["top_token_ids"] == list(range(10))
    top, *rest = feature["sequence_data"]["seq_group_data"]
    assert top["title"] == f"TOP ACTIVATIONS<br>MAX = {numbers.max:.3f}"
    assert [(s["original_index"], s["qualifying_token_index"]) for s in top["seq_data"]] == [
        (e.row, e.offset) for e in numbers.top
    ]
    assert top["seq_data"][0]["token_ids"] == numbers.top[0].tokens.tolist()
    assert len(rest) == len(numbers.groups) - 1
    dead = data["feature_data_dict"]["0"]
    assert (dead["acts_histogram_data"]["bar_heights"], dead["sequence_data"]["seq_group_data"]) == ([], [])
    assert data["feature_stats"]["max"][0] == pytest.approx(numbers.max, rel=1e-6)
