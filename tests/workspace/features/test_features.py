"""Lists of features, what people say of them, and exports of both."""

import csv
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.features.labels import Label, Score
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.reading.feature_reading import View
from tests.workspace.features.conftest import extract, live

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e'; DROP TABLE features; -- {0} %s"


def view_of(ws: Workspace, extraction: Extraction) -> View:
    return ws.features.view(extraction.id)


def test_lists(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    store = extracted.store()
    everything = ws.features.list(sae_id=sae.id)
    assert [one.index for one in everything] == list(range(64))
    one = everything[int(store.fired.argmax())]
    assert one.id == f"feat_{sae.id}_{one.index}"
    assert (one.fired, one.density) == (int(store.fired.max()), float(store.density.max()))
    assert one.max == float(store.max[one.index])
    assert one.extraction_id == extracted.id
    assert one.top_tokens == tuple(store.text_of(t) for t in store.peak_tokens[one.index] if t >= 0)
    by_density = ws.features.list(sae_id=sae.id, sort="density", descending=True)
    assert [row.density for row in by_density] == sorted((row.density or 0 for row in everything), reverse=True)
    assert list(by_density[3:8]) == list(
        ws.features.list(extraction_id=extracted.id, sort="density", descending=True, offset=3, limit=5)
    )
    live = ws.features.indices(extracted.id, show="live")
    assert live.tolist() == np.flatnonzero(store.fired > 0).tolist()
    assert ws.features.indices(sae.name, show="dead").tolist() == np.flatnonzero(store.fired == 0).tolist()
    token = next(row.top_tokens[0] for row in everything if row.top_tokens and row.top_tokens[0].strip())
    found = ws.features.list(sae_id=sae.id, search=token.strip().upper())
    assert found
    assert all(any(token.strip().lower() in text.lower() for text in row.top_tokens) for row in found)
    assert [row.index for row in ws.features.records(sae.id, [5, 1, 5])] == [5, 1, 5]
    assert len(ws.features.list(sae_id=sae.id, limit=10).to_df()) == 10


def test_ids_that_are_none(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    for wrong in ("", "x", f"feat_{sae.id}_64", "feat_sae_none_1", "feat_train_none_1", f"feat_{sae.id}_-1"):
        with pytest.raises(NotFoundError):
            ws.features.get(wrong)
    for index in (-1, 64, True, 1.0):
        with pytest.raises(ConfigError):
            ws.features.feature(sae.id, index)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        ws.features.list(extraction_id="ext_none")


def test_examples(ws: Workspace, sae: SAERecord, extracted: Extraction) -> None:
    index = int(extracted.store().fired.argmax())
    found = ws.features.examples(f"feat_{sae.id}_{index}")
    data = ws.features.data(extracted.id, index)
    assert len(found) == sum(len(group.examples) for group in data.groups)
    top = [one for one in found if one.kind == "top"]
    assert [one.value for one in top] == sorted((one.value for one in top), reverse=True)
    assert top[0].value == pytest.approx(data.max)
    assert all(len(one.tokens) == len(one.activations) and one.activations[one.peak] == one.value for one in found)
    assert {"tokens", "activations", "value", "position"} <= set(found.to_df().columns)
    assert len(ws.features.examples(f"feat_{sae.id}_{index}", limit=2)) == 2


def test_labels_stars_and_notes(ws: Workspace, own: Extraction) -> None:
    sae_id, told = str(own.record.sae_id), []
    end = ws.features.subscribe(told.append)
    first, second = f"feat_{sae_id}_3", f"feat_{sae_id}_5"
    revision = ws.features.revision(sae_id)
    record = ws.features.label(first, "  kings  ", "and queens")
    assert (record.label, record.label_source, record.labels[0].description) == ("kings", "user", "and queens")
    assert ws.features.revision(sae_id) > revision
    assert ws.features.star(second).starred
    assert ws.features.notes(second, "look again").notes == "look again"
    assert ws.features.counts(own.id) == (1, 1)
    assert [one.index for one in ws.features.list(sae_id=sae_id, show="labelled")] == [3]
    assert [one.index for one in ws.features.list(sae_id=sae_id, show="starred")] == [5]
    assert [one.index for one in ws.features.list(sae_id=sae_id, search="KING")][:1] == [3]
    assert ws.features.list(sae_id=sae_id, sort="label")[0].index == 3
    assert not ws.features.star(second, False).starred
    assert ws.features.label(first, " ").label == ""
    assert told == [sae_id] * 5
    end()


@pytest.mark.parametrize(
    ("text", "where"), [("x" * 1001, "text"), ("a\0b", "text"), ("\ud800", "text"), (3, "name")]
)  # fmt: skip
def test_labels_that_are_refused(text: Any, where: str, ws: Workspace, own: Extraction) -> None:
    feature = f"feat_{own.record.sae_id}_3"
    with pytest.raises(ConfigError) as caught:
        ws.features.label(feature, text)
    assert caught.value.where == where
    with pytest.raises(ConfigError, match="source"):
        ws.features.label(feature, "x", source="me")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at most"):
        ws.features.notes(feature, "x" * 20_001)
    for refused in ("a\0b", "a\ud800"):  # nothing of what somebody wrote is left out
        with pytest.raises(ConfigError, match="a null character or half a surrogate pair") as caught:
            ws.features.notes(feature, refused)
        assert (caught.value.where, caught.value.hint) == ("notes", "Remove it.")
    assert ws.features.get(feature).labels == ()


def test_hostile_text_is_data(ws: Workspace, own: Extraction) -> None:
    feature = f"feat_{own.record.sae_id}_3"
    assert ws.features.label(feature, HOSTILE, HOSTILE).label == HOSTILE
    assert ws.features.notes(feature, HOSTILE).notes == HOSTILE
    (found,) = ws.features.list(sae_id=own.record.sae_id, search="DROP TABLE")
    assert found.label == HOSTILE
    assert "<img" not in ws.features.list(sae_id=own.record.sae_id, limit=4)._repr_html_()


def test_the_users_label_wins_over_all(ws: Workspace, own: Extraction) -> None:
    feature, view = f"feat_{own.record.sae_id}_3", view_of(ws, own)
    score = Score("detection", 0.9, n_judged=9, n_asked=10)
    ws.features.put_labels(view, [Label(3, "by a model", source="auto", model="m", scores=(score,))])
    ws.features.put_labels(view, [Label(3, "by words", source="auto", model="offline heuristic")])
    record = ws.features.get(feature)
    assert (record.label, record.score, record.label_by) == ("by a model", 0.9, "m, detection 0.90, 9 of 10 judged")
    record = ws.features.label(feature, "mine")
    assert [one.text for one in record.labels] == ["mine", "by a model", "by words"]
    assert (record.label, record.score) == ("mine", None)
    assert ws.features.label(feature, "").label == "by a model"
    failure = Label(3, "", source="auto", model="m2", error="no answer")
    ws.features.put_labels(view, [failure])
    assert ws.features.get(feature).label == "by a model"


def test_labels_survive_extractions(ws: Workspace, own: Extraction) -> None:
    sae_id = str(own.record.sae_id)
    index = int(own.store().fired.argmax())
    feature = f"feat_{sae_id}_{index}"
    label = ws.features.label(feature, "kept").labels[0]
    evidence = ws.features.evidence(label)
    assert len(evidence) == 3
    top = ws.features.data(own.id, index).top[0]
    assert evidence[0].value == top.value
    assert evidence[0].tokens[evidence[0].peak] == top.pieces[top.peak]
    again = extract(ws, sae_id=sae_id, config={"examples": 2})
    assert ws.features.get(feature).extraction_id == again.id
    assert ws.features.get(feature, extraction_id=own.id).extraction_id == own.id
    own.delete()
    assert ws.features.get(feature).label == "kept"
    again.delete()
    record = ws.features.get(feature)
    assert (record.label, record.density, record.extraction_id) == ("kept", None, None)
    assert list(ws.features.evidence(record.labels[0])) == list(evidence)
    # Without an extraction there are still the features that somebody spoke of.
    assert [one.index for one in ws.features.list(sae_id=sae_id)] == [index]
    assert [one.index for one in ws.features.list(sae_id=sae_id, search="kep", sort="label")] == [index]
    assert not ws.features.list(sae_id=sae_id, show="starred")
    for wrong in ({"show": "dead"}, {"sort": "max"}):
        with pytest.raises(StateError, match="not extracted"):
            ws.features.list(sae_id=sae_id, **wrong)
    with pytest.raises(StateError):
        ws.features.examples(feature)
    other = next(r for r in ws.extractions.list() if r.sae_id != sae_id)
    with pytest.raises(ConfigError, match="another SAE"):
        ws.features.get(feature, extraction_id=other.id)
    ws.saes.delete(sae_id)
    with pytest.raises(NotFoundError):
        ws.features.get(feature)


def test_another_process_sees_it(ws: Workspace, own: Extraction) -> None:
    sae_id = str(own.record.sae_id)
    with Workspace(ws.folder) as other:
        ws.features.list(sae_id=sae_id, show="labelled")  # arranged once here
        other.features.label(f"feat_{sae_id}_9", "elsewhere")
        assert [one.label for one in ws.features.list(sae_id=sae_id, show="labelled")] == ["elsewhere"]
        failed: list[BaseException] = []

        def label(workspace: Workspace, name: str) -> None:
            try:
                for index in range(15):
                    workspace.features.label(f"feat_{sae_id}_{index}", f"{name} {index}")
                    workspace.features.star(f"feat_{sae_id}_{index}")
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=label, args=pair) for pair in ((ws, "here"), (other, "there"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert ws.features.counts(sae_id) == (15, 15)
        for index in range(15):
            record = ws.features.feature(sae_id, index)
            assert len(record.labels) == 1  # a person has one label per feature: the later one
            assert record.label in (f"here {index}", f"there {index}")
            assert record == other.features.feature(sae_id, index)


def test_the_text_is_gone(ws: Workspace, own: Extraction, tmp_path: Path) -> None:
    """Numbers stay, and so do labels; what needs the text says so."""
    tokens = ws.folder / "tokens" / own.store().manifest.tokens
    tokens.rename(tmp_path / "tokens")
    (own.folder / "peak_tokens.npy").unlink(missing_ok=True)
    try:
        with Workspace(ws.folder) as other:
            found = other.features.list(extraction_id=own.id, sort="max", descending=True)
            assert found[0].max
            assert found[0].top_tokens == ()
            with pytest.raises(NotFoundError, match="text"):
                other.features.examples(found[0].id, extraction_id=own.id)
            assert other.features.label(found[0].id, "still").label == "still"
    finally:
        (tmp_path / "tokens").rename(tokens)


def test_a_table_has_the_labels(ws: Workspace, sae: SAERecord, extracted: Extraction, tmp_path: Path) -> None:
    index = live(extracted)[0]
    ws.features.label(f"feat_{sae.id}_{index}", "=of kings")
    (tmp_path / "t.csv").write_text("of an earlier export, which goes\n" * 1000)
    with ws.features.export(sae.id, "csv", tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64
    assert rows[index]["label"] == "'=of kings"


def test_every_kind_of_export_is_written(ws: Workspace, extracted: Extraction, tmp_path: Path) -> None:
    indices = live(extracted)[:4]

    def written(what: Any, **settings: Any) -> Path:
        return ws.features.export(extracted.id, what, tmp_path / what / "it", indices=indices, **settings)

    page = written("html", title="<b>mine</b>").read_text("utf-8")
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "Raises" in page  # the model is here
    assert len(written("html", logits=False).read_text("utf-8")) < len(page)
    vectors = load_file(written("vectors") / "vectors.safetensors")["vectors"]
    assert vectors.tolist() == ws.saes.load(extracted.record.sae_id or "").W_dec.detach()[indices].tolist()
    assert sorted(json.loads(written("json").read_text())["feature_data_dict"]) == sorted(map(str, indices))
    folder = written("neuronpedia", model_id="tiny", sae_set="res-tiny")
    assert any((tmp_path / "neuronpedia" / "it" / "tiny").rglob("batch-0.jsonl.gz"))
    assert folder.is_relative_to(tmp_path / "neuronpedia" / "it" / "tiny")
    written("csv")
    written("interpretations")
    assert Path(extracted.record.model).is_dir()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    files = [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in files]
    assert not [each for each in files if extracted.record.model.encode() in each], "a path of this machine"


def test_rejects_exports_without_an_extraction_or_with_unknown_names(
    ws: Workspace, extracted: Extraction, make_sae: Callable[..., SAERecord], tmp_path: Path
) -> None:
    with pytest.raises(StateError):  # it has no extraction
        ws.features.export(make_sae(seed=9).id, "csv", tmp_path / "x")
    with pytest.raises(ConfigError) as caught:
        ws.features.export(extracted.id, "neuronpedia", tmp_path / "x", model_id="a", sae_set="b", colour="red")
    assert caught.value.where == "names"
    assert not (tmp_path / "x").exists()
