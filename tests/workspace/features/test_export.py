from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from saewidgets.errors import ConfigError, StateError
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extraction.extraction import Extraction


def live(ws: Workspace, extracted: Extraction, n: int = 4) -> list[int]:
    return [int(i) for i in ws.features.indices(extracted.id, show="live")[:n]]


def test_a_page(ws: Workspace, extracted: Extraction, tmp_path: Path) -> None:
    indices = live(ws, extracted)
    path = ws.features.export(extracted.id, "html", tmp_path / "page.html", indices=indices, title="<b>mine</b>")
    text = path.read_text("utf-8")
    assert "&lt;b&gt;mine&lt;/b&gt;" in text
    assert "Raises" in text or "logit" in text.lower()  # the model is here
    bare = ws.features.export(extracted.id, "html", tmp_path / "bare.html", indices=indices, logits=False)
    assert bare.stat().st_size < path.stat().st_size


def test_a_table_has_the_labels(ws: Workspace, sae: SAERecord, extracted: Extraction, tmp_path: Path) -> None:
    index = live(ws, extracted)[0]
    ws.features.label(f"feat_{sae.id}_{index}", "=of kings")
    with ws.features.export(sae.id, "csv", tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64
    assert rows[index]["label"] == "'=of kings"


def test_vectors_are_decoder_rows(ws: Workspace, sae: SAERecord, extracted: Extraction, tmp_path: Path) -> None:
    indices = live(ws, extracted)
    folder = ws.features.export(extracted.id, "vectors", tmp_path / "v", indices=indices)
    found = load_file(folder / "vectors.safetensors")["vectors"]
    expected = ws.saes.load(sae.id).W_dec.detach()[indices].numpy()
    assert found.tolist() == expected.tolist()


def test_files_of_other_tools(ws: Workspace, extracted: Extraction, tmp_path: Path) -> None:
    indices = live(ws, extracted)
    written = ws.features.export(extracted.id, "json", tmp_path / "d.json", indices=indices)
    assert sorted(json.loads(written.read_text())["feature_data_dict"]) == sorted(map(str, indices))
    folder = ws.features.export(
        extracted.id, "neuronpedia", tmp_path / "np", indices=indices, model_id="tiny", sae_set="res-tiny"
    )
    assert folder.is_relative_to(tmp_path / "np" / "tiny")
    assert any(folder.rglob("batch-0.jsonl.gz"))


def test_what_cannot_be_exported_is_said(ws: Workspace, extracted: Extraction, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exported as 'pdf'"):
        ws.features.export(extracted.id, "pdf", tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="model_id"):
        ws.features.export(extracted.id, "neuronpedia", tmp_path / "x")
    with pytest.raises(ConfigError) as caught:
        ws.features.export(extracted.id, "neuronpedia", tmp_path / "x", model_id="a", sae_set="b", colour="red")
    assert caught.value.where == "names"
    with pytest.raises(ConfigError, match="Neuronpedia only"):
        ws.features.export(extracted.id, "csv", tmp_path / "x", model_id="a")
    with pytest.raises(ConfigError, match="no feature"):
        ws.features.export(extracted.id, "csv", tmp_path / "x", indices=[10**6])
    assert not (tmp_path / "x").exists()


def test_an_sae_without_an_extraction(ws: Workspace, make_sae: object, tmp_path: Path) -> None:
    record = make_sae(seed=9)  # type: ignore[operator]
    with pytest.raises(StateError):
        ws.features.export(record.id, "csv", tmp_path / "x.csv")
