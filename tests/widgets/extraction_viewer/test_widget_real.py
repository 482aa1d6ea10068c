"""The viewer over a real workspace: what the fake one of the other tests stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.records import SAERecord
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.workspace import Workspace
from tests.conftest import TINY_TEXT
from tests.widgets.conftest import Sent, ask, wait_for
from tests.workspace.conftest import PATIENCE
from tests.workspace.library.saes import saelens

Record = Callable[[Any], Sent]
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws"), jobs=JobSettings(poll=0.05)) as ws:
        yield ws


@pytest.fixture(scope="module")
def sae(workspace: Workspace, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SAERecord:
    folder = saelens(tmp_path_factory.mktemp("files") / "tiny", 32, 64)
    return workspace.saes.add_local(folder, model=str(tiny_model_folder), hook_name=HOOK)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What somebody types into the dialog."""
    text = tmp_path_factory.mktemp("text")
    for i, document in enumerate(TINY_TEXT):
        (text / f"{i}.txt").write_text(document, "utf-8")
    return {
        "corpus": str(text), "tokens": "100k", "context_size": "16", "examples": "6", "per_interval": "2",
        "min_activation": "1 % of max", "exclude_special_tokens": True, "max_norm_ratio": False,
    }  # fmt: skip


@pytest.fixture
def viewer(workspace: Workspace) -> Iterator[ExtractionViewer]:
    widget = ExtractionViewer(workspace)
    yield widget
    widget.close()


@pytest.fixture
def extraction(workspace: Workspace, sae: SAERecord, values: dict[str, Any]) -> str:
    """One that is there for all tests."""
    latest = workspace.extractions.latest(sae.id)
    if latest is not None:
        return latest.id
    viewer = ExtractionViewer(workspace, sae=sae.id)
    assert viewer.view["dialog_sae"] == sae.id
    handle = viewer._commands.start_extraction(sae.id, values)
    assert workspace.extractions.get(handle["extraction_id"]).wait(PATIENCE) is JobStatus.COMPLETED
    viewer.close()
    return handle["extraction_id"]


def asked(viewer: ExtractionViewer, sent: Sent, **command: Any) -> Any:
    """The value of the answer, and its buffer as numbers if it has one."""
    answer = ask(viewer._parts[0], sent, **command)
    assert answer["kind"] == "result", answer
    buffers = next(buffers for content, buffers in sent if content is answer)
    return (answer["value"], np.frombuffer(buffers[0], "<f4")) if buffers else answer["value"]


def test_from_the_dialog_to_the_features(
    viewer: ExtractionViewer, workspace: Workspace, sae: SAERecord, values: dict[str, Any], record_messages: Record
) -> None:
    sent = record_messages(viewer._parts[0])
    rows = asked(viewer, sent, kind="list_saes")["rows"]
    assert [row["id"] for row in rows] == [sae.id]
    fields = asked(viewer, sent, kind="extraction_form", sae_id=sae.id)["fields"]
    assert {"corpus", "tokens", "context_size", "min_activation"} <= {field["name"] for field in fields}
    check = asked(viewer, sent, kind="check_extraction", sae_id=sae.id, values=values)
    assert (check["errors"], check["device"]) == ({}, "cpu")
    assert check["disk_bytes"] > 0
    nothing = asked(viewer, sent, kind="check_extraction", sae_id=sae.id, values={**values, "corpus": ""})
    assert "is not here" in nothing["errors"]["corpus"]  # it is not known what it was trained on
    too_long = asked(
        viewer, sent, kind="check_extraction", sae_id=sae.id, values={**values, "context_size": "4,096"}
    )
    assert "at once, not 4,096" in too_long["errors"]["context_size"]
    extraction_id = asked(viewer, sent, kind="start_extraction", sae_id=sae.id, values=values)["extraction_id"]
    assert viewer.view["tab"] == "jobs"
    assert workspace.extractions.get(extraction_id).wait(PATIENCE) is JobStatus.COMPLETED

    def card() -> dict[str, Any]:
        return next(card for card in viewer._parts[0].state["cards"] if card["id"] == extraction_id)

    wait_for(lambda: card()["status"] == "completed" and card()["dead"] is not None)
    assert card()["fraction"] == 1.0
    asked(viewer, sent, kind="show_view", view={"extraction_id": extraction_id, "feature": 3})
    wait_for(lambda: viewer._parts[0].state["open"] is not None)
    opened = viewer._parts[0].state["open"]
    assert (opened["d_sae"], opened["context_size"], opened["live"]) == (64, 16, True)
    assert opened["n_documents"] > 0
    assert viewer.selected == 3


def test_lists_pages_and_steps(
    viewer: ExtractionViewer, workspace: Workspace, extraction: str, record_messages: Record
) -> None:
    sent = record_messages(viewer._parts[0])
    query = {"sort": "max", "descending": True, "show": "live"}
    of = {"extraction_id": extraction}
    found = asked(viewer, sent, kind="query_features", **of, query=query, limit=10)
    assert 0 < len(found["rows"]) <= 10
    first = found["rows"][0]
    assert first["top_tokens"]
    assert first["max"] >= found["rows"][-1]["max"]
    viewer.view = {"extraction_id": extraction, "query": query}
    assert list(viewer.to_df()["index"][:10]) == [row["index"] for row in found["rows"]]
    page, activations = asked(viewer, sent, kind="open_feature", **of, index=first["index"])
    assert page["max"] == first["max"]
    examples = [example for group in page["groups"] for example in group["examples"]]
    assert len(activations) == sum(len(example["tokens"]) for example in examples)
    example = page["groups"][0]["examples"][0]
    assert activations[example["peak"]] == pytest.approx(first["max"])
    assert sum(page["histogram"]["counts"]) == page["fired"]
    place = asked(viewer, sent, kind="step_feature", **of, query=query, index=first["index"], step="next")
    assert (place["index"], place["row"]) == (found["rows"][1]["index"], 1)
    whole, values = asked(
        viewer, sent, kind="expand_example", **of, index=first["index"], position=example["position"]
    )
    assert whole["complete"]
    assert values[whole["peak"]] == pytest.approx(first["max"], rel=1e-3)
    relations = asked(viewer, sent, kind="feature_relations", **of, index=first["index"])
    assert relations["similar"]
    assert relations["problem"] is None
    viewer.selected = first["index"]
    html = viewer.export_html()
    assert f"Feature {first['index']}" in html
    assert "Top activations" in html


def test_text_is_read_with_the_model(
    viewer: ExtractionViewer, workspace: Workspace, extraction: str, record_messages: Record
) -> None:
    sent = record_messages(viewer._parts[0])
    of = {"extraction_id": extraction}
    text = TINY_TEXT[0][:60]
    reading, values = asked(viewer, sent, kind="read_prompt", **of, text=text, hide_dense=False, limit=5)
    assert 0 < len(reading["rows"]) <= 5
    assert len(values) == len(reading["rows"]) * len(reading["tokens"])
    assert "".join(reading["texts"][i] for i in reading["tokens"]) == text
    row = reading["rows"][0]
    tested, own = asked(viewer, sent, kind="test_text", **of, index=row["index"], text=text)
    assert tested["max"] == pytest.approx(row["max"], rel=1e-4)
    assert own == pytest.approx(values[: len(own)], rel=1e-4)
    logits = asked(viewer, sent, kind="feature_logits", **of, index=row["index"])
    assert logits["problem"] is None
    assert logits["raises"][0]["logit"] >= logits["raises"][-1]["logit"] > logits["lowers"][0]["logit"]
    refused = ask(viewer._parts[0], sent, kind="test_text", **of, index=64, text=text)
    assert (refused["kind"], refused["where"]) == ("failure", "index")


def test_labels_are_shared(
    viewer: ExtractionViewer, workspace: Workspace, extraction: str, record_messages: Record, tmp_path: Path
) -> None:
    viewer.view = {"extraction_id": extraction}
    other = ExtractionViewer(workspace, extraction=extraction)
    sent = record_messages(viewer._parts[0])
    of = {"extraction_id": extraction}
    live = asked(viewer, sent, kind="query_features", **of, query={"show": "live"})["rows"]
    index = live[0]["index"]
    wait_for(lambda: other._parts[0].state["open"] is not None)
    before = other._parts[0].state["features_revision"]
    notes = asked(viewer, sent, kind="edit_feature", **of, index=index, label="<b>ships</b>", notes="n", starred=True)
    label = notes["labels"][0]
    assert (label["text"], label["source"], notes["starred"]) == ("<b>ships</b>", "user", True)
    wait_for(lambda: other._parts[0].state["features_revision"] > before)
    wait_for(lambda: other._parts[0].state["open"]["labelled"] == 1)
    wait_for(lambda: other._parts[0].state["open"]["starred"] == 1)
    described = asked(viewer, sent, kind="edit_feature", **of, index=index, description="vessels")
    assert described["labels"][0]["description"] == "vessels"
    suggestion = asked(viewer, sent, kind="suggest_label", **of, index=live[1]["index"])
    assert suggestion["text"]
    assert other._parts[0].state["open"]["labelled"] == 1
    count = asked(viewer, sent, kind="label_features", **of)
    assert count["labelled"] > 0
    rows = asked(viewer, sent, kind="query_features", **of, query={"show": "labelled"})
    assert rows["matching"] == count["labelled"] + 1
    assert {row["auto"] for row in rows["rows"]} == {True, False}
    written = asked(viewer, sent, kind="export_features", **of, what="labels_csv", path=str(tmp_path / "labels"))
    assert written["path"] == str(tmp_path / "labels.csv")
    assert written["size_bytes"] == (tmp_path / "labels.csv").stat().st_size
    taken = asked(viewer, sent, kind="import_labels", **of, path=written["path"])
    assert taken["skipped"] == 0
    gone = asked(viewer, sent, kind="edit_feature", **of, index=index, label="", starred=False, notes="")
    assert all(label["source"] != "user" for label in gone["labels"])
    refused = ask(viewer._parts[0], sent, kind="import_labels", **of, path=str(tmp_path / "none.csv"))
    assert refused["kind"] == "failure"
    other.close()


def test_the_browser_counts_features_and_extracts(
    workspace: Workspace, sae: SAERecord, extraction: str, record_messages: Record
) -> None:
    browser = SAEBrowser(workspace)
    card = browser._parts[0].state["cards"][0]
    record = workspace.extractions.get(extraction).record
    assert record.seen
    assert card["features_extracted"] == record.seen
    sent = record_messages(browser._parts[0])
    ask(browser._parts[0], sent, kind="show_extractions", shown=True, sae_id=sae.id)
    wait_for(lambda: len(browser.children) == 2)
    assert browser.children[1].view["dialog_sae"] == sae.id
    browser.close()


def test_deleting(
    viewer: ExtractionViewer, workspace: Workspace, sae: SAERecord, extraction: str, record_messages: Record
) -> None:
    viewer.view = {"extraction_id": extraction}
    sent = record_messages(viewer._parts[0])
    asked(viewer, sent, kind="extraction_action", extraction_id=extraction, action="delete")
    wait_for(lambda: extraction not in {card["id"] for card in viewer._parts[0].state["cards"]})
    wait_for(lambda: viewer._parts[0].state["open"] is None)
    refused = ask(viewer._parts[0], sent, kind="open_feature", extraction_id=extraction, index=0)
    assert refused["kind"] == "failure"


def test_logit_effects_of_all_features_from_the_card(
    workspace: Workspace, viewer: ExtractionViewer, extraction: str, record_messages: Record
) -> None:
    def card() -> dict[str, Any]:
        return next(each for each in viewer.children[0].state["cards"] if each["id"] == extraction)

    wait_for(lambda: viewer.children[0].state["cards"], PATIENCE)
    assert (card()["has_logits"], card()["logits"]) == (False, None)
    part = viewer.children[0]
    answer = ask(part, record_messages(part), kind="logits_action", extraction_id=extraction, action="start")
    assert answer["kind"] == "result"
    job = workspace.extractions.logits_job(extraction)
    assert job is not None
    assert job.wait(PATIENCE) is JobStatus.COMPLETED
    wait_for(lambda: (card()["has_logits"], card()["logits"]) == (True, None), PATIENCE)
    assert workspace.extractions.open(extraction).logits is not None


def test_an_open_viewer_shows_the_demo_that_a_script_asks_for(tmp_path: Path) -> None:
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as ws:
        viewer = ExtractionViewer(ws)
        try:
            assert viewer.extraction is None
            demo = ws.extractions.demo()
            wait_for(lambda: (viewer.children[0].state["open"] or {}).get("id") == demo.id, PATIENCE)
            assert [card["id"] for card in viewer.children[0].state["cards"]] == [demo.id]
        finally:
            viewer.close()
