"""The SAE browser as Python sees it: follows the library, has a selection, leaves a static copy."""

from __future__ import annotations

import dataclasses
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pytest

from saewidgets.errors import CatalogError, ConfigError, NotFoundError
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from tests.widgets.conftest import Sent, ask, wait_for
from tests.widgets.fake_features import FakeFeatureWorkspace, full_features, make_extraction
from tests.widgets.fake_library import FakeSaeWorkspace, full_library, make_sae


@pytest.fixture
def ws(tmp_path: Path) -> FakeSaeWorkspace:  # type: ignore[override]
    return full_library(tmp_path)


@pytest.fixture
def browser(ws: FakeSaeWorkspace) -> Iterator[SAEBrowser]:
    widget = SAEBrowser(ws)
    yield widget
    widget.close()


def cards(browser: SAEBrowser) -> list[str]:
    return [card["id"] for card in browser._parts[0].state["cards"]]


def test_it_is_a_box_with_one_part_at_first(browser: SAEBrowser) -> None:
    assert [child._view for child in browser.children] == ["sae_browser"]
    assert "sw-frame" in browser._dom_classes


def test_it_follows_the_library(browser: SAEBrowser, ws: FakeSaeWorkspace) -> None:
    assert cards(browser) == ["sae_gpt2", "sae_pythia", "sae_gemma", "sae_lab"]
    ws.saes.add(make_sae("sae_new", "new one"))
    wait_for(lambda: cards(browser)[0] == "sae_new")
    ws.saes.delete("sae_gpt2")
    wait_for(lambda: "sae_gpt2" not in cards(browser))


def test_cards_say_what_the_drawing_says(browser: SAEBrowser) -> None:
    found = {card["id"]: card for card in browser._parts[0].state["cards"]}
    gemma = found["sae_gemma"]
    words = (gemma["source_label"], gemma["site"], gemma["architecture"])
    assert words == ("Gemma Scope", "residual", "JumpReLU, L0 82")
    assert (gemma["d_sae"], gemma["d_in"], gemma["d_out"], gemma["canonical"]) == (16_384, 2304, None, True)
    assert found["sae_gpt2"]["architecture"] == "TopK, k 32"
    assert (found["sae_gpt2"]["fvu"], found["sae_gpt2"]["training_name"]) == (0.118, "gpt2-l6-topk-k32")
    assert found["sae_lab"]["state"] == "missing"
    assert found["sae_pythia"]["format_label"] == "sparsify"


def test_selected_is_the_sae_checked_last(browser: SAEBrowser, record_messages: Callable[[Any], Sent]) -> None:
    seen: list[Any] = []
    browser.observe(lambda change: seen.append(change["new"]), "selected")
    sent = record_messages(browser._parts[0])
    assert browser.selected is None
    assert browser.selected_record is None
    ask(browser._parts[0], sent, kind="select_saes", sae_ids=["sae_gemma", "sae_gpt2"])
    wait_for(lambda: browser.selected == "sae_gpt2")
    assert browser.selected_ids == ("sae_gemma", "sae_gpt2")
    assert browser.selected_record.name == "gpt2-l6-topk-k32"
    assert seen == ["sae_gpt2"]


def test_selected_can_be_assigned(browser: SAEBrowser, ws: FakeSaeWorkspace) -> None:
    browser.selected = "sae_gemma"
    wait_for(lambda: [sae["id"] for sae in browser._parts[0].state["selected"]] == ["sae_gemma"])
    assert browser.selected == "sae_gemma"
    with pytest.raises(ConfigError, match="no SAE 'nobody'"):
        browser.selected = "nobody"
    assert browser.selected == "sae_gemma"
    ws.saes.delete("sae_gemma")
    wait_for(lambda: browser.selected is None)
    browser.selected = "sae_lab"
    browser.selected = None
    wait_for(lambda: browser._parts[0].state["selected"] == [])


def test_filters_come_back_as_state(browser: SAEBrowser, record_messages: Callable[[Any], Sent]) -> None:
    sent = record_messages(browser._parts[0])
    ask(browser._parts[0], sent, kind="browse_saes", source="gemma_scope")
    wait_for(lambda: cards(browser) == ["sae_gemma"])
    state = browser._parts[0].state
    assert (state["matching"], state["total"], state["query"]["source"]) == (1, 4, "gemma_scope")


@pytest.mark.parametrize("wrong", [{"source": "bogus"}, {"layer": -1}, {"layer": 2**70}, {"sort": "bogus"}])
def test_filters_that_no_sae_can_have_are_refused(
    browser: SAEBrowser,
    record_messages: Callable[[Any], Sent],
    caplog: pytest.LogCaptureFixture,
    wrong: dict[str, Any],
) -> None:
    sent = record_messages(browser._parts[0])
    before = browser._parts[0].state["query"]
    answer = ask(browser._parts[0], sent, kind="browse_saes", **wrong)
    assert answer["kind"] == "failure"
    assert next(iter(wrong)) in str(answer)
    ask(browser._parts[0], sent, kind="refresh", revision=0)
    assert browser._parts[0].state["query"] == before
    assert "Traceback" not in caplog.text


def test_an_upload_over_the_wire(
    browser: SAEBrowser, ws: FakeSaeWorkspace, record_messages: Callable[[Any], Sent]
) -> None:
    part = browser._parts[0]
    sent = record_messages(part)
    files = [{"name": "cfg.json", "size": 4}]
    upload_id = ask(part, sent, kind="begin_upload", files=files)["value"]["upload_id"]
    chunk = {"kind": "upload_chunk", "upload_id": upload_id, "file": 0, "offset": 0}
    part._handle_custom_msg({"id": "none", **chunk}, [])
    part._handle_custom_msg({"id": "two", **chunk}, [b"ab", b"cd"])
    part._handle_custom_msg({"id": "large", **chunk}, [bytes(1_000_001)])
    part._handle_custom_msg({"id": "good", **chunk}, [memoryview(b"{  }")])
    part.drain()
    assert [sent.of(name)[-1]["kind"] for name in ("none", "two", "large", "good")] == [
        "failure", "failure", "failure", "result",
    ]  # fmt: skip
    assert "larger than 1,000,000 bytes" in sent.of("large")[-1]["what"]
    answer = ask(part, sent, kind="finish_upload", upload_id=upload_id)
    assert ws.saes.uploaded == {"cfg.json": b"{  }"}
    wait_for(lambda: answer["value"]["sae_id"] in cards(browser))


def test_a_command_without_buffers_takes_none(browser: SAEBrowser, record_messages: Callable[[Any], Sent]) -> None:
    sent = record_messages(browser._parts[0])
    browser._parts[0]._handle_custom_msg({"id": "x", "kind": "refresh", "revision": 0}, [b"abc"])
    browser._parts[0].drain()
    assert "came with 1 buffers" in sent.of("x")[-1]["what"]


def test_the_download_opens_in_the_same_box(
    browser: SAEBrowser, monkeypatch: pytest.MonkeyPatch, record_messages: Callable[[Any], Sent]
) -> None:
    made: list[Any] = []

    class DownloadFromHF(ipywidgets.HTML):
        def __init__(self, ws: Any, **options: Any) -> None:
            made.append((ws, options))
            super().__init__()

    module = types.ModuleType("saewidgets.widgets.download.widget")
    module.DownloadFromHF = DownloadFromHF  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    sent = record_messages(browser._parts[0])
    ask(browser._parts[0], sent, kind="show_download", shown=True)
    wait_for(lambda: len(browser.children) == 2)
    ((workspace, options),) = made
    assert workspace is browser.workspace
    assert (options["height"], options["theme"], options["embedded"]) == (640, "auto", True)
    options["on_open"]("sae_gemma")  # "Open in SAE browser"
    wait_for(lambda: len(browser.children) == 1)
    wait_for(lambda: browser.selected == "sae_gemma")
    ask(browser._parts[0], sent, kind="show_download", shown=True)
    wait_for(lambda: len(browser.children) == 2)
    assert len(made) == 1


def test_a_broken_catalog_is_shown_and_heals(
    browser: SAEBrowser, ws: FakeSaeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**filters: Any) -> None:
        raise CatalogError("The catalog is locked.", hint="Close the other program.")

    with monkeypatch.context() as patch:
        patch.setattr(ws.saes, "facets", broken)
        ws.saes.tell()
        wait_for(lambda: (browser._parts[0].state["notice"] or {}).get("what") == "The catalog is locked.")
        second = SAEBrowser(ws)
        assert second._parts[0].state["notice"]["what"] == "The catalog is locked."
        second.close()
    ws.saes.tell()
    wait_for(lambda: browser._parts[0].state["notice"] is None)


def test_traits_are_written_by_one_thread(browser: SAEBrowser, ws: FakeSaeWorkspace) -> None:
    threads: set[str] = set()
    browser._parts[0].observe(lambda change: threads.add(threading.current_thread().name), names=["state"])
    for i in range(20):
        ws.saes.add(make_sae(f"sae_{i}", f"run-{i}"))
    wait_for(lambda: browser._parts[0].state["total"] == 24)
    assert threads == {"saewidgets-saes"}


def test_arguments_are_checked(ws: FakeSaeWorkspace) -> None:
    with pytest.raises(ConfigError, match="theme"):
        SAEBrowser(ws, theme="blue")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="height"):
        SAEBrowser(ws, height=3)
    with pytest.raises(TypeError):
        SAEBrowser(ws, colour="red")  # type: ignore[call-arg]
    widget = SAEBrowser(ws, theme="dark", height=300)
    assert (widget._parts[0].theme, widget._parts[0].height) == ("dark", 300)
    widget.close()


def test_close_ends_everything_and_may_be_called_twice(ws: FakeSaeWorkspace, tmp_path: Path) -> None:
    widget = SAEBrowser(ws)
    assert len(ws.saes._subscribers) == 1
    widget.close()
    widget.close()
    assert ws.saes._subscribers == []
    assert not widget._publisher.alive


def test_repr_and_static_copy(browser: SAEBrowser, ws: FakeSaeWorkspace, tmp_path: Path) -> None:
    assert repr(browser) == "<SAEBrowser default workspace: 4 SAEs>"
    browser.selected = "sae_lab"
    assert repr(browser) == "<SAEBrowser default workspace: 4 SAEs, 1 selected>"
    data, _ = browser._repr_mimebundle_()
    assert data["text/plain"].startswith("<SAEBrowser")
    html = data["text/html"]
    assert "Static copy of the SAE browser" in html
    assert "16,384 × 2,304" in html
    assert "sae.safetensors is no longer in its folder." in html
    ws.saes.update("sae_gpt2", name='"><img src=x onerror=alert(1)>')
    wait_for(lambda: any(card["name"].startswith('"') for card in browser._parts[0].state["cards"]))
    document = browser.export_html(tmp_path / "saes.html").read_text("utf-8")
    assert document.startswith("<!doctype html>")
    assert "<img" not in document
    assert "<script" not in document
    assert browser.export_html() == document


def test_an_empty_library(tmp_path: Path) -> None:
    widget = SAEBrowser(FakeSaeWorkspace(tmp_path))
    assert widget._parts[0].state["total"] == 0
    assert "No SAEs yet" in widget._repr_mimebundle_()[0]["text/html"]
    widget.close()


# ------------------------------------------------------------------------------------------------ Extract


@pytest.fixture
def features(tmp_path: Path) -> FakeFeatureWorkspace:
    return full_features(tmp_path)


def test_extract_opens_the_viewer_with_the_sae_chosen(
    features: FakeFeatureWorkspace, record_messages: Callable[[Any], Sent]
) -> None:
    browser = SAEBrowser(features)
    sent = record_messages(browser._parts[0])
    assert ask(browser._parts[0], sent, kind="show_extractions", shown=True, sae_id="sae_gemma")["kind"] == "result"
    wait_for(lambda: len(browser.children) == 2)
    viewer = browser.children[1]
    assert isinstance(viewer, ExtractionViewer)
    assert "sw-frame" not in viewer._dom_classes  # the browser draws the frame
    assert viewer.view["dialog_sae"] == "sae_gemma"
    wait_for(lambda: browser._parts[0].state["extractions_shown"])
    ask(browser._parts[0], sent, kind="show_extractions", shown=True, sae_id="sae_gpt2")
    wait_for(lambda: viewer.view["dialog_sae"] == "sae_gpt2")
    ask(browser._parts[0], sent, kind="show_download", shown=False)  # what is not open does not close
    ask(browser._parts[0], sent, kind="show_extractions", shown=False)
    wait_for(lambda: browser.children == (browser._parts[0],))
    ask(browser._parts[0], sent, kind="show_extractions", shown=True)
    wait_for(lambda: browser.children == (browser._parts[0], viewer))  # the same again, without a dialog of its own
    browser.close()
    assert viewer._closed


def test_extract_needs_an_sae_with_files(
    features: FakeFeatureWorkspace, record_messages: Callable[[Any], Sent]
) -> None:
    browser = SAEBrowser(features)
    sent = record_messages(browser._parts[0])
    gone = ask(browser._parts[0], sent, kind="show_extractions", shown=True, sae_id="sae_nobody")
    assert (gone["kind"], gone["what"]) == ("failure", "There is no SAE 'sae_nobody' in this library.")
    missing = ask(browser._parts[0], sent, kind="show_extractions", shown=True, sae_id="sae_lab")
    assert (missing["kind"], missing["what"]) == ("failure", "Weights not found.")
    assert not browser._parts[0].state["extractions_shown"]
    assert len(browser.children) == 1
    browser.close()


def test_the_count_of_features_follows_an_extraction(features: FakeFeatureWorkspace) -> None:
    browser = SAEBrowser(features)
    record = features.saes.get("sae_gpt2")
    features.saes.records["sae_gpt2"] = dataclasses.replace(record, features_extracted=16_300)  # as the catalog counts
    features.extractions.put(make_extraction("ext_done"))

    def count() -> int:
        return next(card["features_extracted"] for card in browser._parts[0].state["cards"] if card["id"] == "sae_gpt2")

    wait_for(lambda: count() == 16_300)
    browser.close()
    assert features.extractions.subscribers == 0


def test_show_opens_an_sae_whatever_is_filtered(
    browser: SAEBrowser, ws: FakeSaeWorkspace, record_messages: Callable[[Any], Sent]
) -> None:
    sent = record_messages(browser._parts[0])
    for number in range(120):
        ws.saes.add(make_sae(f"sae_{number}", f"newer {number}"))
    ask(browser._parts[0], sent, kind="browse_saes", search="newer")
    browser.show("sae_gpt2")
    wait_for(lambda: browser._parts[0].state["revealed"] == "sae_gpt2")
    state = browser._parts[0].state
    assert "sae_gpt2" in cards(browser)
    assert (state["query"]["search"], state["query"]["offset"]) == ("", 100)
    assert browser.selected == "sae_gpt2"
    ask(browser._parts[0], sent, kind="browse_saes", search="x")
    wait_for(lambda: browser._parts[0].state["revealed"] is None)
    with pytest.raises(NotFoundError):
        browser.show("sae_nobody")
