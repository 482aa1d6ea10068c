"""The extraction viewer as Python sees it: follows the workspace, has a view, leaves a static copy."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
from traitlets import TraitError

from saewidgets.errors import CatalogError, ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from tests.widgets.conftest import Sent, ask, wait_for
from tests.widgets.fake_features import HOSTILE, FakeFeatureWorkspace, full_features, make_extraction

Record = Callable[[Any], Sent]


@pytest.fixture
def ws(tmp_path: Path) -> FakeFeatureWorkspace:  # type: ignore[override]
    return full_features(tmp_path)


@pytest.fixture
def viewer(ws: FakeFeatureWorkspace) -> Iterator[ExtractionViewer]:
    widget = ExtractionViewer(ws)
    wait_for(lambda: widget._parts[0].state["open"])  # by the publisher: it costs the import of torch
    yield widget
    widget.close()


def state(viewer: ExtractionViewer) -> dict[str, Any]:
    return dict(viewer._parts[0].state)


# ------------------------------------------------------------------------------------------------ making one


def test_it_opens_the_newest_that_can_be_read(viewer: ExtractionViewer) -> None:
    assert [child._view for child in viewer.children] == ["extraction_viewer"]
    assert "sw-frame" in viewer._dom_classes
    assert state(viewer)["open"]["id"] == "ext_new"
    assert viewer.extraction is not None
    assert viewer.extraction.name == "gpt2-l6-topk-k32"
    assert viewer.selected is None
    assert viewer.selected_feature is None


def test_making_one_opens_no_store(ws: FakeFeatureWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.get_ident()
    asked: list[int] = []
    opened = ws.extractions.open

    def open_store(extraction_id: str) -> Any:
        asked.append(threading.get_ident())
        return opened(extraction_id)

    monkeypatch.setattr(ws.extractions, "open", open_store)
    viewer = ExtractionViewer(ws)
    assert [card["id"] for card in state(viewer)["cards"]] == ["ext_new", "ext_old", "ext_run"]
    wait_for(lambda: state(viewer)["open"])
    assert here not in asked  # the cell does not wait for torch
    viewer.close()


def test_what_it_is_asked_for(ws: FakeFeatureWorkspace) -> None:
    cases: list[tuple[dict[str, Any], str | None, str | None]] = [
        ({"extraction": "ext_old"}, "ext_old", None),
        ({"sae": "sae_gpt2"}, "ext_new", None),
        ({"sae": "gpt2-l6-topk-k32"}, "ext_new", None),
        ({"sae": "sae_gemma"}, None, "sae_gemma"),
        ({"view": {"extraction_id": "ext_old", "feature": 3}}, "ext_old", None),
    ]  # fmt: skip
    for given, opened, dialog in cases:
        viewer = ExtractionViewer(ws, **given)
        assert (viewer.view["extraction_id"], viewer.view["dialog_sae"]) == (opened, dialog)
        viewer.close()


def test_an_empty_workspace(ws: FakeFeatureWorkspace) -> None:
    ws.extractions.records.clear()
    viewer = ExtractionViewer(ws)
    assert (state(viewer)["open"], state(viewer)["total"], viewer.extraction) == (None, 0, None)
    assert "No features yet" in viewer.export_html()
    with pytest.raises(StateError, match="No extraction is open"):
        viewer.to_df()
    with pytest.raises(ConfigError, match="No extraction is open"):
        viewer.selected = 3
    assert viewer.selected is None
    viewer.close()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"theme": "pink"}, ConfigError, "theme"),
        ({"height": 10}, ConfigError, "height"),
        ({"sae": "sae_nobody"}, NotFoundError, "no SAE"),
        ({"extraction": "ext_nobody"}, NotFoundError, "no extraction"),
        ({"extraction": "ext_run"}, StateError, "nothing to read yet"),
        ({"view": {"tab": "moon"}}, ConfigError, "view.tab"),
        ({"view": {"extraction_id": "ext_new", "feature": 40}}, ConfigError, "no feature 40"),
        ({"sae": "sae_gpt2", "extraction": "ext_new"}, ConfigError, "two things"),
    ],
)
def test_bad_arguments(
    ws: FakeFeatureWorkspace, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ExtractionViewer(ws, **given)
    assert (ws.extractions.subscribers, ws.features.subscribers) == (0, 0)


def test_something_else_is_no_workspace() -> None:
    with pytest.raises(ConfigError, match="Not a workspace"):
        ExtractionViewer(7)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ following


def test_it_follows_the_extractions(viewer: ExtractionViewer, ws: FakeFeatureWorkspace) -> None:
    ws.extractions.act("pause", "ext_run", JobStatus.PAUSED)
    wait_for(lambda: {c["id"]: c["status"] for c in state(viewer)["cards"]}["ext_run"] == "paused")
    ws.extractions.put(make_extraction("ext_newest", created_at=time.time()))
    wait_for(lambda: state(viewer)["cards"][0]["id"] == "ext_newest")
    wait_for(lambda: state(viewer)["open"]["versions"][0]["value"] == "ext_newest")
    ws.extractions.delete("ext_new")
    wait_for(lambda: state(viewer)["open"] is None)


def test_many_changes_are_few_updates(viewer: ExtractionViewer, ws: FakeFeatureWorkspace) -> None:
    seen: list[float] = []
    viewer._parts[0].observe(lambda change: seen.append(time.monotonic()), "state")
    began = time.monotonic()
    while time.monotonic() - began < 0.6:
        record = ws.extractions.records["ext_run"]
        ws.extractions.put(dataclasses.replace(record, seen=(record.seen or 0) + 1))
        time.sleep(0.001)
    assert 1 <= len(seen) <= 8  # 10 Hz


def test_a_failure_is_shown_until_it_is_over(viewer: ExtractionViewer, ws: FakeFeatureWorkspace) -> None:
    ws.extractions.broken = CatalogError("The catalog is locked.", hint="Close the other program.")
    viewer._changed()
    wait_for(lambda: (state(viewer)["notice"] or {}).get("what") == "The catalog is locked.")
    ws.extractions.broken = None
    viewer._changed()
    wait_for(lambda: state(viewer)["notice"] is None)


def test_it_is_drawn_with_a_broken_catalog(ws: FakeFeatureWorkspace) -> None:
    ws.extractions.broken = CatalogError("The catalog is locked.")
    viewer = ExtractionViewer(ws)
    assert state(viewer)["notice"]["what"] == "The catalog is locked."
    viewer.close()


def test_two_viewers_in_step(viewer: ExtractionViewer, ws: FakeFeatureWorkspace, record_messages: Record) -> None:
    other = ExtractionViewer(ws)
    wait_for(lambda: state(other)["open"])
    sent = record_messages(viewer._parts[0])
    before = state(other)["features_revision"]
    ask(viewer._parts[0], sent, kind="edit_feature", extraction_id="ext_new", index=3, label="sails")
    wait_for(lambda: state(other)["features_revision"] > before)
    wait_for(lambda: state(other)["open"]["labelled"] == 2)
    ask(viewer._parts[0], sent, kind="show_view", view={"extraction_id": "ext_old", "feature": 3})
    wait_for(lambda: state(viewer)["open"]["id"] == "ext_old")
    assert other.view["extraction_id"] == "ext_new"  # each has its own view
    other.close()
    ask(viewer._parts[0], sent, kind="edit_feature", extraction_id="ext_new", index=3, label="")
    wait_for(lambda: state(viewer)["open"]["labelled"] == 1)


# ------------------------------------------------------------------------------------------------ the view


def test_selected_follows_the_page_and_can_be_assigned(viewer: ExtractionViewer, record_messages: Record) -> None:
    seen: list[Any] = []
    viewer.observe(lambda change: seen.append(change["new"]), "selected")
    sent = record_messages(viewer._parts[0])
    ask(viewer._parts[0], sent, kind="show_view", view={"extraction_id": "ext_new", "feature": 7})
    wait_for(lambda: viewer.selected == 7)
    assert viewer.selected_feature is not None
    assert viewer.selected_feature.label == "ships"
    viewer.selected = 9
    wait_for(lambda: state(viewer)["view"]["feature"] == 9)
    with pytest.raises(ConfigError, match="no feature 40"):
        viewer.selected = 40
    assert (viewer.selected, viewer.view["feature"]) == (9, 9)
    viewer.selected = viewer.to_df()["index"][11]  # a numpy number
    wait_for(lambda: state(viewer)["view"]["feature"] == 11)
    for wrong in (7.5, "7", True):
        with pytest.raises(TraitError):
            viewer.selected = wrong
    viewer.selected = None
    wait_for(lambda: state(viewer)["view"]["feature"] is None)
    assert seen == [7, 9, 11, None]


def test_a_view_is_restored(viewer: ExtractionViewer, ws: FakeFeatureWorkspace) -> None:
    query = {"search": "", "show": "live", "sort": "max", "descending": True}
    view = {"extraction_id": "ext_old", "feature": 12, "query": query, "context": "full", "line_breaks": True}
    viewer.view = view
    assert viewer.selected == 12
    kept = json.loads(json.dumps(viewer.view))
    other = ExtractionViewer(ws, view=kept)
    assert other.view == viewer.view
    assert other.selected == 12
    assert list(other.to_df()["index"][:3]) == [39, 38, 37]
    other.close()
    with pytest.raises(ConfigError, match="no feature 99"):
        viewer.view = {**kept, "feature": 99}
    with pytest.raises(ConfigError, match="dictionary"):
        viewer.view = "ext_old"
    assert viewer.view == kept


def test_the_table_is_what_the_list_shows(viewer: ExtractionViewer) -> None:
    table = viewer.to_df()
    assert len(table) == 40
    viewer.view = {**viewer.view, "query": {"show": "labelled"}}
    assert list(viewer.to_df()["label"]) == ["ships"]


def test_the_dialog_can_be_asked_for(viewer: ExtractionViewer) -> None:
    viewer.extract("sae_gemma")
    wait_for(lambda: state(viewer)["view"]["dialog_sae"] == "sae_gemma")
    with pytest.raises(NotFoundError):
        viewer.extract("sae_nobody")


# ------------------------------------------------------------------------------------------------ commands


def test_a_page_comes_with_its_buffer(viewer: ExtractionViewer, record_messages: Record) -> None:
    sent = record_messages(viewer._parts[0])
    answer = ask(viewer._parts[0], sent, kind="open_feature", extraction_id="ext_new", index=7)
    buffers = next(buffers for content, buffers in sent if content is answer)
    assert (answer["kind"], answer["columns"]) == ("result", ["activations"])
    tokens = sum(len(e["tokens"]) for g in answer["value"]["groups"] for e in g["examples"])
    assert len(buffers[0]) == 4 * tokens


def test_wrong_fields_are_told_by_name(viewer: ExtractionViewer, record_messages: Record) -> None:
    sent = record_messages(viewer._parts[0])
    answer = ask(viewer._parts[0], sent, kind="start_extraction", sae_id="sae_gpt2", values={"tokens": "0"})
    assert (answer["kind"], answer["what"]) == ("failure", "1 field needs attention.")
    assert answer["fields"]["tokens"].startswith("Tokens is 0.")


@pytest.mark.parametrize(
    "command",
    [
        {"kind": "open_feature", "extraction_id": "ext_new", "index": -1},
        {"kind": "query_features", "extraction_id": "ext_new", "query": {"show": "all"}, "limit": 5000},
        {"kind": "test_text", "extraction_id": "ext_new", "index": 1, "text": "x" * 100_001},
        {"kind": "extraction_action", "extraction_id": "ext_new", "action": "explode"},
        {"kind": "edit_feature", "extraction_id": "ext_new", "index": 1, "label": "x" * 1001},
        {"kind": "unpickle", "path": "/etc/passwd"},
    ],
)
def test_malformed_commands_are_refused(
    viewer: ExtractionViewer, record_messages: Record, command: dict[str, Any]
) -> None:
    sent = record_messages(viewer._parts[0])
    assert ask(viewer._parts[0], sent, **command)["kind"] == "failure"


def test_half_a_surrogate_pair_is_named(viewer: ExtractionViewer, record_messages: Record) -> None:
    command = {"kind": "edit_feature", "extraction_id": "ext_new", "index": 1, "label": "\ud800"}
    failed = ask(viewer._parts[0], record_messages(viewer._parts[0]), **command)
    assert (failed["where"], failed["what"]) == (
        "label", "The command 'edit_feature' is malformed: it holds half a surrogate pair."
    )  # fmt: skip


def test_nothing_blocks_the_thread_that_receives(
    viewer: ExtractionViewer, ws: FakeFeatureWorkspace, record_messages: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(ws.features, "logits", lambda *_: gate.wait(5))
    sent = record_messages(viewer._parts[0])
    command = {"id": "slow", "kind": "feature_logits", "extraction_id": "ext_new", "index": 7}
    for number in range(5):
        began = time.perf_counter()
        viewer._parts[0]._handle_custom_msg(command | {"id": "other"} if number else command, [])
        assert time.perf_counter() - began < 3  # the work takes 5
    assert [content["kind"] for content in sent.of("slow")] == ["ack"]
    quick = {"id": "quick", "kind": "step_feature", "extraction_id": "ext_new", "index": 7, "step": "next"}
    viewer._parts[0]._handle_custom_msg({**quick, "query": {}}, [])
    wait_for(lambda: len(sent.of("quick")) == 2)  # while the model loads
    gate.set()
    viewer._parts[0].drain()
    assert len(sent.of("slow")) == 2


def test_steering_is_handed_on(ws: FakeFeatureWorkspace, record_messages: Record) -> None:
    asked: list[tuple[str, int]] = []
    viewer = ExtractionViewer(ws, on_steer=lambda owner, index: asked.append((owner, index)))
    sent = record_messages(viewer._parts[0])
    assert ask(viewer._parts[0], sent, kind="steer_feature", extraction_id="ext_new", index=7)["kind"] == "result"
    assert asked == [("sae_gpt2", 7)]
    viewer.close()


def test_steering_opens_below(
    ws: FakeFeatureWorkspace, record_messages: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Steering(ipywidgets.HTML):  # type: ignore[misc]
        def __init__(self, workspace: Any, **given: Any) -> None:
            super().__init__()
            self.given, self.added = given, []
            made.append(self)

        def add(self, sae: str, index: int) -> None:
            if index == 0:
                raise StateError("There is no room for more.")
            self.added.append((sae, index))

    monkeypatch.setattr("saewidgets.widgets.steering.widget.Steering", Steering)
    viewer = ExtractionViewer(ws)
    sent = record_messages(viewer._parts[0])
    for index in (7, 9):
        answer = ask(viewer._parts[0], sent, kind="steer_feature", extraction_id="ext_new", index=index)
        assert answer["kind"] == "result"
    wait_for(lambda: viewer.children == (viewer._parts[0], made[0]))
    assert made[0].added[:2] == [("sae_gpt2", 7), ("sae_gpt2", 9)]
    assert made[0].given["embedded"]
    answer = ask(viewer._parts[0], sent, kind="steer_feature", extraction_id="ext_new", index=0)
    assert (answer["kind"], answer["what"]) == ("failure", "There is no room for more.")
    wait_for(lambda: viewer._parts[0].state["below"] == "steering")
    made[0].given["on_close"]()
    wait_for(lambda: viewer.children == (viewer._parts[0],))
    wait_for(lambda: viewer._parts[0].state["below"] == "")
    assert made[0].comm is not None  # its features are there again when Steer is pressed
    ask(viewer._parts[0], sent, kind="steer_feature", extraction_id="ext_new", index=11)
    wait_for(lambda: viewer.children == (viewer._parts[0], made[0]))
    viewer.view = {**viewer.view, "tab": "jobs"}
    made[0].given["on_browse"]()
    assert viewer.view["tab"] == "features"
    ws.extractions.put(make_extraction("ext_t", None, training_id="train_1"))  # type: ignore[arg-type]
    answer = ask(viewer._parts[0], sent, kind="steer_feature", extraction_id="ext_t", index=1)
    assert "not in the library yet" in answer["what"]
    viewer.close()
    assert made[0].comm is None
    assert len(made) == 1


def test_a_download_opens_below(
    ws: FakeFeatureWorkspace, record_messages: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class DownloadFromHF(ipywidgets.HTML):  # type: ignore[misc]
        def __init__(self, workspace: Any, **given: Any) -> None:
            super().__init__()
            self.given = given
            made.append(self)

    monkeypatch.setattr("saewidgets.widgets.download.widget.DownloadFromHF", DownloadFromHF)
    viewer = ExtractionViewer(ws)
    sent = record_messages(viewer._parts[0])
    for _ in range(2):
        ask(viewer._parts[0], sent, kind="show_download", shown=True)
        wait_for(lambda: len(viewer.children) == 2)
        assert viewer.children[1] is made[0]
        ask(viewer._parts[0], sent, kind="show_download", shown=False)
        wait_for(lambda: viewer.children == (viewer._parts[0],))
    assert made[0].given["embedded"]
    viewer.close()
    assert made[0].comm is None
    assert len(made) == 1


def test_code_names_the_workspace_it_is_bound_to(ws: FakeFeatureWorkspace) -> None:
    viewer = ExtractionViewer(ws)
    assert viewer._parts[0].state["code"] == ""
    viewer.close()
    ws.is_default = False
    viewer = ExtractionViewer(ws)
    assert viewer._parts[0].state["code"] == "ws"  # the folder is no part of what is saved with a notebook
    viewer.close()


# ------------------------------------------------------------------------------------------------ static, closing


def test_the_static_list(viewer: ExtractionViewer, ws: FakeFeatureWorkspace, tmp_path: Path) -> None:
    ws.extractions.put(make_extraction("ext_h", name=HOSTILE, created_at=time.time()))
    wait_for(lambda: state(viewer)["cards"][0]["id"] == "ext_h")
    path = viewer.export_html(tmp_path / "list.html")
    text = Path(path).read_text("utf-8")
    assert "Static copy of the extraction viewer (default workspace)" in text
    assert "4 of 4 extractions" in text
    assert "Running" in text
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "\x1b" not in text


def test_the_static_page(viewer: ExtractionViewer, ws: FakeFeatureWorkspace) -> None:
    ws.features.label("feat_sae_gpt2_7", HOSTILE)
    ws.features.notes("feat_sae_gpt2_7", "<img src=x>")
    viewer.selected = 7
    bundle = viewer._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    text = data["text/html"]
    assert "Feature 7: &lt;script&gt;" in text
    assert "density 0.71 %" in text.lower()
    assert "Interval 1.75 – 3.5, 50 % of firings, 0.1 % of tokens" in text.replace("0.10 %", "0.1 %")
    assert "&lt;b&gt;on&lt;/b&gt;" in text
    assert "<script" not in text
    assert "<img" not in text
    viewer.selected = 13
    assert "Feature 13 did not fire" in viewer.export_html()


def test_without_its_files_the_list_is_left(viewer: ExtractionViewer, ws: FakeFeatureWorkspace) -> None:
    viewer.selected = 7
    ws.extractions.gone.add("ext_new")
    assert "Static copy" in viewer.export_html()
    assert "Feature 7" not in viewer.export_html()


def test_repr(viewer: ExtractionViewer) -> None:
    assert repr(viewer) == "<ExtractionViewer default workspace: 3 extractions, gpt2-l6-topk-k32 open>"


def test_closing(ws: FakeFeatureWorkspace) -> None:
    viewer = ExtractionViewer(ws)
    publisher = viewer._publisher
    threads = [threading.Thread(target=viewer.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not publisher.alive
    assert (ws.extractions.subscribers, ws.features.subscribers) == (0, 0)
    ws.extractions.act("pause", "ext_run", JobStatus.PAUSED)
    assert viewer._parts[0].comm is None
