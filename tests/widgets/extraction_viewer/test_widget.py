"""The extraction viewer as Python sees it: it follows the workspace, has a view, leaves a static copy."""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets import TraitError

from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.feature_records import ExtractionRecord
from saewidgets.jobs import JobSettings
from saewidgets.records import JobRecord
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.state import CARDS, ViewerModel, view_from
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.messages.features import ViewerView
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, again, ask
from tests.widgets.extraction_viewer.conftest import HOSTILE, D, state
from tests.workspace.conftest import PATIENCE

# ------------------------------------------------------------------------------------------------ extractions


def test_the_list_and_the_open_feature(
    model: ViewerModel, ws: Workspace, ext: str, running: ExtractionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.show(ViewerView(extraction_id=ext, feature=7))
    model.read()
    state = model.state()
    assert [card.id for card in state.cards] == [ext, "ext_run_1700000000000000"]
    runs = state.cards[1]
    assert (runs.tokens_done, runs.fraction, runs.seen, runs.dead) == (410, 0.41, 13, None)
    assert (state.total, state.active, state.n_saes) == (2, 1, 2)
    assert (state.open.id, state.open.d_sae, state.open.context_size, state.open.live) == (ext, D, 16, True)
    assert [version.value for version in state.open.versions] == [ext]
    again(model)
    assert model.state().revision == state.revision
    with monkeypatch.context() as patch:  # somebody labels in another process
        patch.setattr(ws.features, "revision", lambda wanted: -1.0)
        again(model)
        assert model.state().features_revision == state.features_revision + 1
    old = dataclasses.replace(model.record(ext), id="old", n_tokens=200_000, other_weights=True)
    monkeypatch.setattr(ws.extractions, "list", lambda: [model.record(ext), old])
    again(model)
    assert model.state().open.versions[1].label.endswith(", 200K tokens, other weights")
    monkeypatch.setattr(ws.extractions, "list", lambda: [running] * (CARDS + 5))
    again(model)
    assert (len(model.state().cards), model.state().total) == (CARDS, CARDS + 5)
    assert (model.state().open, model.view.extraction_id, model.view.feature) == (None, None, None)  # it is gone


def test_what_steers_a_job(
    call: Callable[..., Any], ws: Workspace, ext: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    get = ws.extractions.get
    verbs = {name: (lambda name=name: done.append(name)) for name in ("pause", "resume", "cancel")}
    monkeypatch.setattr(ws.extractions, "get", lambda wanted: SimpleNamespace(**verbs))
    for action in verbs:
        call("extraction_action", action=action)
    assert done == ["pause", "resume", "cancel"]
    monkeypatch.setattr(ws.extractions, "get", get)
    assert call("refresh", revision=-1).total == 1
    call("extraction_action", action="delete")
    assert call("refresh", revision=-1).total == 0
    with pytest.raises(NotFoundError):
        call("extraction_action", action="pause")


def test_logit_effects_of_all_features(
    viewer: ExtractionViewer, ws: Workspace, ext: str, press: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def card() -> dict[str, Any]:
        found: dict[str, Any] = state(viewer)["cards"][0]
        return found

    assert (card()["has_logits"], card()["logits"]) == (False, None)
    assert "not being computed" in press(kind="logits_action", extraction_id=ext, action="pause")["what"]
    progress = Progress(done=10, total=40, unit="features", eta_seconds=3.0, phase="computing")
    job = JobRecord("job_1", "logits", JobStatus.RUNNING, "test/cpu", progress=progress)
    with monkeypatch.context() as patch:
        patch.setattr(ws.extractions, "logit_jobs", lambda: {ext: job})
        viewer._changed()
        wait_until(lambda: (card()["logits"] or {}).get("fraction") == 0.25)
        assert (card()["logits"]["status"], card()["logits"]["eta_seconds"]) == ("running", 3.0)
    assert press(kind="logits_action", extraction_id=ext, action="start")["kind"] == "result"
    started = ws.extractions.logits_job(ext)
    assert started.wait(PATIENCE) is JobStatus.COMPLETED
    wait_until(lambda: (card()["has_logits"], card()["logits"]) == (True, None), PATIENCE)


def test_an_open_viewer_shows_the_demo_that_is_asked_for(
    tmp_path: Path, record_messages: Callable[[Any], Sent]
) -> None:
    with Workspace(tmp_path / "empty", jobs=JobSettings(poll=0.05)) as ws:
        viewer = ExtractionViewer(ws)
        assert (state(viewer)["open"], state(viewer)["total"], viewer.extraction) == (None, 0, None)
        assert "No features yet" in viewer.export_html()
        with pytest.raises(StateError, match="No extraction is open"):
            viewer.to_df()
        with pytest.raises(ConfigError, match="No extraction is open"):
            viewer.selected = 3
        demo = ws.extractions.demo()  # a script asks
        wait_until(lambda: (state(viewer)["open"] or {}).get("id") == demo.id, PATIENCE)
        viewer.view = {"tab": "jobs"}
        answer = ask(viewer._parts[0], record_messages(viewer._parts[0]), kind="try_demo")
        assert answer["value"] == {"extraction_id": demo.id}
        assert (viewer.view["extraction_id"], viewer.view["tab"]) == (demo.id, "features")
        viewer.close()


# ------------------------------------------------------------------------------------------------ the view


def test_two_viewers_in_step(viewer: ExtractionViewer, ws: Workspace, ext: str, press: Callable[..., Any]) -> None:
    other = ExtractionViewer(ws)
    wait_until(lambda: state(other)["open"])
    before = state(other)["features_revision"]
    press(kind="edit_feature", extraction_id=ext, index=3, label="sails", starred=True)
    wait_until(lambda: state(other)["features_revision"] > before)
    wait_until(lambda: state(other)["open"]["labelled"] == 1)
    press(kind="show_view", view={"extraction_id": ext, "feature": 3})
    wait_until(lambda: state(viewer)["view"]["feature"] == 3)
    assert other.view["feature"] is None  # each has its own view
    other.close()


@pytest.mark.usefixtures("running")  # of the other SAE: there is nothing to read in it yet
def test_arguments_choose_the_open_extraction(ws: Workspace, sae: str, ext: str) -> None:
    other = ws.saes.find("other").id
    cases: list[tuple[dict[str, Any], str | None, str | None]] = [
        ({}, ext, None),
        ({"extraction": ext}, ext, None),
        ({"sae": sae}, ext, None),
        ({"sae": "tiny"}, ext, None),
        ({"sae": "other"}, None, other),
        ({"view": {"extraction_id": ext, "feature": 3}}, ext, None),
    ]
    for given, opened, dialog in cases:
        viewer = ExtractionViewer(ws, **given)
        assert (viewer.view["extraction_id"], viewer.view["dialog_sae"]) == (opened, dialog)
        assert viewer.selected == given.get("view", {}).get("feature")
        viewer.close()


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"sae": "sae_nobody"}, NotFoundError, "no SAE"),
        ({"extraction": "ext_nobody"}, NotFoundError, "no extraction"),
        ({"extraction": "ext_run_1700000000000000"}, StateError, "nothing to read yet"),
        ({"view": {"tab": "moon"}}, ConfigError, "view.tab"),
        ({"view": {"feature": 1}}, ConfigError, "No extraction is open"),
        ({"view": {"dialog_sae": "sae_nobody"}}, NotFoundError, "no SAE"),
        ({"view": [1]}, ConfigError, "dictionary"),
        ({"sae": "tiny", "extraction": "ext_new"}, ConfigError, "exclude each other"),
    ],
)
def test_bad_arguments(ws: Workspace, given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ExtractionViewer(**{"ws": ws, **given})


def test_making_one_opens_no_store(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.get_ident()
    asked: list[int] = []
    opened = ws.extractions.open
    monkeypatch.setattr(ws.extractions, "open", lambda wanted: (asked.append(threading.get_ident()), opened(wanted))[1])
    viewer = ExtractionViewer(ws)
    assert len(state(viewer)["cards"]) == 1
    wait_until(lambda: state(viewer)["open"])
    assert here not in asked  # the cell does not wait for torch
    viewer.close()


def test_selected_and_the_view(viewer: ExtractionViewer, ws: Workspace, ext: str, press: Callable[..., Any]) -> None:
    seen: list[Any] = []
    viewer.observe(lambda change: seen.append(change["new"]), "selected")
    assert (viewer.extraction.name, viewer.selected, viewer.selected_feature) == ("tiny", None, None)  # type: ignore[union-attr]
    press(kind="show_view", view={"extraction_id": ext, "feature": 7})
    wait_until(lambda: viewer.selected == 7)
    assert viewer.selected_feature.index == 7
    viewer.selected = 9
    wait_until(lambda: state(viewer)["view"]["feature"] == 9)
    with pytest.raises(ConfigError, match=f"no feature {D}"):
        viewer.selected = D
    assert (viewer.selected, viewer.view["feature"]) == (9, 9)
    viewer.selected = viewer.to_df()["index"][11]  # a numpy number
    wait_until(lambda: state(viewer)["view"]["feature"] == 11)
    for wrong in (7.5, "7", True):
        with pytest.raises(TraitError):
            viewer.selected = wrong
    viewer.selected = None
    wait_until(lambda: state(viewer)["view"]["feature"] is None)
    assert seen == [7, 9, 11, None]

    query = {"search": "", "show": "live", "sort": "max", "descending": True}
    viewer.view = {"extraction_id": ext, "feature": 12, "query": query, "context": "full", "line_breaks": True}
    kept = json.loads(json.dumps(viewer.view))
    other = ExtractionViewer(ws, view=kept)
    assert (other.view, other.selected) == (viewer.view, 12)
    table = other.to_df()
    assert list(table["max"]) == sorted(table["max"], reverse=True)
    other.close()
    with pytest.raises(ConfigError, match=f"no feature {D}"):
        viewer.view = {**kept, "feature": D}
    assert viewer.view == kept
    viewer.extract("other")
    wait_until(lambda: state(viewer)["view"]["dialog_sae"] == ws.saes.find("other").id)


def test_what_the_page_has_not_changed_stays_as_python_has_it(
    call: Callable[..., Any], model: ViewerModel, ext: str
) -> None:
    before = ViewerView(tab="prompt", extraction_id=ext, feature=7)
    model.show(before.model_copy(update={"feature": 5}))  # the page has not heard of it yet
    call("show_view", view=before.model_copy(update={"tab": "features"}), before=before)
    assert (model.view.tab, model.view.feature) == ("features", 5)
    assert view_from(model.view.model_dump(mode="json")) == model.view
    with pytest.raises(ConfigError) as raised:
        view_from({"query": {"sort": "colour"}})
    assert raised.value.where == "view.query.sort"


# ------------------------------------------------------------------------------------------------ following


def test_it_follows_the_extractions(viewer: ExtractionViewer, ws: Workspace, ext: str, sae: str) -> None:
    browser = SAEBrowser(ws)

    def extracted() -> int:
        cards = browser._parts[0].state["cards"]
        return next(card["features_extracted"] for card in cards if card["id"] == sae)

    assert extracted() == ws.extractions.get(ext).record.seen
    ws.extractions.delete(ext)
    wait_until(lambda: (state(viewer)["open"], state(viewer)["total"]) == (None, 0))
    wait_until(lambda: extracted() == 0)
    browser.close()


# ------------------------------------------------------------------------------------------------ below the list


def test_other_widgets_open_below(
    viewer: ExtractionViewer, ws: Workspace, ext: str, sae: str, press: Callable[..., Any],
    record_messages: Callable[[Any], Sent], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    part = viewer._parts[0]
    for index in (7, 9):
        assert press(kind="steer_feature", extraction_id=ext, index=index)["kind"] == "result"
    wait_until(lambda: len(viewer.children) == 2)
    steering = viewer.children[1]
    assert isinstance(steering, Steering)
    assert [(row.sae_id, row.index) for row in steering._model.rows] == [(sae, 7), (sae, 9)]
    assert [steering.state[name] for name in ("embedded", "can_browse", "can_close")] == [True] * 3
    wait_until(lambda: state(viewer)["below"] == "steering")
    sent = record_messages(steering)
    ask(steering, sent, kind="steering_close")
    wait_until(lambda: (viewer.children, state(viewer)["below"]) == ((part,), ""))
    press(kind="steer_feature", extraction_id=ext, index=11)  # its features are there again
    wait_until(lambda: viewer.children == (part, steering))
    viewer.view = {**viewer.view, "tab": "jobs"}
    ask(steering, sent, kind="steering_browse")
    assert viewer.view["tab"] == "features"
    press(kind="show_download", shown=True)
    wait_until(lambda: isinstance(viewer.children[-1], DownloadFromHF))
    download = viewer.children[1]
    assert download.state["embedded"]
    press(kind="show_download", shown=False)
    wait_until(lambda: viewer.children == (part,))
    record = dataclasses.replace(ws.extractions.get(ext).record, sae_id=None, training_id="train_1")
    monkeypatch.setattr(ws.extractions, "get", lambda wanted: SimpleNamespace(record=record))
    assert "not in the library yet" in press(kind="steer_feature", extraction_id=ext, index=1)["what"]
    viewer.close()
    assert steering._closed
    assert download._closed


# ------------------------------------------------------------------------------------------------ static, closing


def test_the_static_copy(viewer: ExtractionViewer, ws: Workspace, ext: str, sae: str, tmp_path: Path) -> None:
    assert repr(viewer) == f"<ExtractionViewer {ws.label}: 1 extraction, tiny open>"
    assert state(viewer)["code"] == "ws"  # the folder is no part of what is saved with a notebook
    text = Path(viewer.export_html(tmp_path / "list.html")).read_text("utf-8")
    assert "1 of 1 extraction." in text
    record = ws.features.list(extraction_id=ext, show="live", sort="max", descending=True)[0]
    ws.features.label(f"feat_{sae}_{record.index}", HOSTILE)
    ws.features.notes(f"feat_{sae}_{record.index}", "<img src=x>")
    viewer.selected = record.index
    data, _ = viewer._repr_mimebundle_()
    text = data["text/html"]
    assert f"Feature {record.index}: &lt;script&gt;" in text
    for words in ("Density ", "Top activations", "Interval ", " % of firings"):
        assert words in text
    for evil in ("<script", "<img", "\x1b"):
        assert evil not in text
    dead = ws.features.list(extraction_id=ext, show="dead")
    viewer.selected = dead[0].index
    assert f"Feature {dead[0].index} did not fire" in viewer.export_html()


def test_files_that_are_gone_are_a_notice(
    viewer: ExtractionViewer, ws: Workspace, ext: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise NotFoundError("The files of the extraction are not here.")

    viewer.selected = 7
    model = ViewerModel(ws)
    model.show(ViewerView(extraction_id=ext))
    with monkeypatch.context() as patch:
        patch.setattr(ws.extractions, "open", gone)
        assert "Static copy" in viewer.export_html()
        assert "Feature 7" not in viewer.export_html()
        model.read()
    state = model.state()
    assert (state.open, len(state.cards)) == (None, 1)
    assert state.notice.what == "The files of the extraction are not here."
    monkeypatch.setattr(ws.features, "can_read", lambda wanted: "The files of the SAE are not here.")
    model = ViewerModel(ws)
    model.show(ViewerView(extraction_id=ext))
    model.read()
    opened = model.state().open
    assert (opened.live, opened.live_note) == (False, "The files of the SAE are not here.")
