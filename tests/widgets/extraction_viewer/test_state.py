"""What a viewer shows: the list, what is open, the view; read only when something may have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.errors import CatalogError, ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.feature_records import FeatureRecord
from saewidgets.widgets.extraction_viewer.state import CARDS, ViewerModel, view_from
from saewidgets.widgets.messages.features import ViewerView
from tests.widgets.fake_features import FakeFeatureWorkspace, full_features, make_extraction


@pytest.fixture
def ws(tmp_path: Path) -> FakeFeatureWorkspace:  # type: ignore[override]
    return full_features(tmp_path)


@pytest.fixture
def model(ws: FakeFeatureWorkspace) -> ViewerModel:
    return ViewerModel(ws)


def test_the_list(model: ViewerModel) -> None:
    model.read()
    state = model.state()
    assert [card.id for card in state.cards] == ["ext_new", "ext_old", "ext_run"]
    assert (state.total, state.active, state.n_saes, state.open) == (3, 1, 4, None)


def test_opening_one(model: ViewerModel) -> None:
    model.show(ViewerView(extraction_id="ext_new", feature=7))
    model.read()
    opened = model.state().open
    assert opened is not None
    assert (opened.id, opened.d_sae, opened.labelled, opened.starred, opened.live) == ("ext_new", 40, 1, 1, True)
    assert [version.value for version in opened.versions] == ["ext_new", "ext_old"]


def test_what_comes_into_an_empty_viewer_is_opened_if_it_can_be_read(ws: FakeFeatureWorkspace) -> None:
    ws.extractions.records.clear()
    model = ViewerModel(ws)
    model.read()
    assert model.state().total == 0
    ws.extractions.put(make_extraction("ext_run", status=JobStatus.RUNNING))
    model.mark_changed()
    model.read()
    assert model.state().open is None  # there is nothing to read yet, and its card is shown
    del ws.extractions.records["ext_run"]
    model.mark_changed()
    model.read()
    ws.extractions.demo()
    model.mark_changed()
    model.read()
    state = model.state()
    assert state.open is not None
    assert (state.open.id, state.view.extraction_id, len(state.cards)) == ("ext_demo", "ext_demo", 1)
    ws.extractions.put(make_extraction("ext_other", created_at=1_800_000_000.0))
    model.mark_changed()
    model.read()
    assert model.view.extraction_id == "ext_demo"  # what is read stays


def test_what_cannot_be_shown_is_refused_and_changes_nothing(model: ViewerModel) -> None:
    with pytest.raises(NotFoundError, match="no extraction"):
        model.show(ViewerView(extraction_id="ext_nobody"))
    with pytest.raises(StateError, match="nothing to read yet"):
        model.show(ViewerView(extraction_id="ext_run"))
    with pytest.raises(ConfigError, match="no feature 40"):
        model.show(ViewerView(extraction_id="ext_new", feature=40))
    with pytest.raises(ConfigError, match="no feature -1"):
        model.show(ViewerView(extraction_id="ext_new", feature=-1))
    with pytest.raises(ConfigError, match="No extraction is open"):
        model.show(ViewerView(feature=1))
    with pytest.raises(NotFoundError, match="no SAE"):
        model.show(ViewerView(dialog_sae="sae_nobody"))
    assert model.view == ViewerView()


def test_a_view_is_plain_data(model: ViewerModel) -> None:
    view = ViewerView(extraction_id="ext_new", feature=7, context="full")
    assert view_from(view.model_dump(mode="json")) == view
    with pytest.raises(ConfigError, match="dictionary"):
        view_from([1])
    with pytest.raises(ConfigError) as raised:
        view_from({"query": {"sort": "colour"}})
    assert raised.value.where == "view.query.sort"


def test_the_newest_is_found(model: ViewerModel) -> None:
    assert model.open_newest()
    assert model.view.extraction_id == "ext_new"
    assert not model.open_newest("sae_pythia")  # it still runs
    assert model.open_newest("sae_gpt2")


def test_a_deleted_extraction_closes(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    model.show(ViewerView(extraction_id="ext_new", feature=7))
    ws.extractions.delete("ext_new")
    model.mark_changed()
    model.read()
    state = model.state()
    assert (state.open, state.view.extraction_id, state.view.feature) == (None, None, None)


def test_files_that_are_gone_are_a_notice(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    model.show(ViewerView(extraction_id="ext_new"))
    ws.extractions.gone.add("ext_new")
    model.read()
    state = model.state()
    assert state.open is None
    assert state.notice is not None
    assert state.notice.what == "The files of the extraction are not here."
    assert len(state.cards) == 3


def test_without_the_sae_nothing_is_live(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    ws.extractions.put(make_extraction("ext_lab", "sae_lab"))
    model.show(ViewerView(extraction_id="ext_lab"))
    model.read()
    opened = model.state().open
    assert opened is not None
    assert not opened.live
    assert "files of the SAE are not here" in opened.live_note


def test_labels_count_and_bump_the_revision(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    model.show(ViewerView(extraction_id="ext_new"))
    model.read()
    before = model.state()
    ws.features.put(FeatureRecord("feat_sae_gpt2_8", 8, "sae_gpt2", None, label="sails"), tell=False)  # another process
    model.mark_changed()
    model.read()
    after = model.state()
    assert after.features_revision == before.features_revision + 1
    assert after.open is not None
    assert after.open.labelled == 2
    model.change(extraction_id="ext_old")
    model.read()
    assert model.state().features_revision == after.features_revision  # another extraction is asked for anyway


def test_the_revision_grows_only_with_changes(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    model.read()
    revision = model.state().revision
    model.mark_changed()
    model.read()
    assert model.state().revision == revision
    ws.extractions.act("pause", "ext_run", JobStatus.PAUSED)
    model.read()  # nobody said that it changed
    assert model.state().revision == revision
    model.mark_changed()
    model.read()
    assert model.state().revision == revision + 1


def test_what_fails_is_read_again(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    ws.extractions.broken = CatalogError("The catalog is locked.")
    with pytest.raises(CatalogError):
        model.read()
    ws.extractions.broken = None
    model.read()
    assert model.state().total == 3


def test_a_long_list_is_cut(model: ViewerModel, ws: FakeFeatureWorkspace) -> None:
    for i in range(CARDS + 5):
        ws.extractions.put(make_extraction(f"ext_{i}"))
    model.mark_changed()
    model.read()
    state = model.state()
    assert (len(state.cards), state.total) == (CARDS, CARDS + 8)
    assert len(state.model_dump_json()) < 100_000
