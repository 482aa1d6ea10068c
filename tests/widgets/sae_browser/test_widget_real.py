"""The browser over a real workspace: what the fake library of the other tests stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.formats import detect_format, save_sae
from saewidgets.sae import create_sae
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.workspace import Workspace
from tests.widgets.conftest import Sent, ask, wait_for

Record = Callable[[Any], Sent]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace(tmp_path / "ws")
    yield ws
    ws.close()


@pytest.fixture
def browser(workspace: Workspace) -> Iterator[SAEBrowser]:
    widget = SAEBrowser(workspace)
    yield widget
    widget.close()


def write_sae(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    return save_sae(create_sae("topk", d_in=8, d_sae=32, k=4), folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def names(browser: SAEBrowser) -> list[str]:
    return [card["name"] for card in browser._parts[0].state["cards"]]


def test_from_a_folder_to_the_bin(
    browser: SAEBrowser, workspace: Workspace, tmp_path: Path, record_messages: Record
) -> None:
    part = browser._parts[0]
    sent = record_messages(part)
    ids = []
    for name in ("first", "second"):
        folder = write_sae(tmp_path / name, seed=len(ids))
        about = {"model": "gpt2", "hook_name": "blocks.6.hook_resid_post"}
        ids.append(ask(part, sent, kind="add_local", path=str(folder), **about)["value"]["sae_id"])
    wait_for(lambda: names(browser) == ["second", "first"])
    first = part.state["cards"][1]
    assert (first["site"], first["layer"], first["d_sae"], first["architecture"]) == ("residual", 6, 32, "TopK, k 4")
    hub = "openai-community/gpt2"
    assert part.state["facets"]["model"] == [{"value": hub, "label": hub, "count": 2}]

    details = ask(part, sent, kind="describe_sae", sae_id=ids[0])["value"]
    assert {"name": "d_sae", "value": "32", "label": ""} in details["settings"]
    assert ids[0] in details["snippets"][0]["code"]
    measured = ask(part, sent, kind="measure_sae", sae_id=ids[0])["value"]
    titles = [one["title"] for one in measured["histograms"]]
    assert titles == ["Decoder norms", "Encoder norms"]
    assert sum(measured["histograms"][0]["counts"]) == 32

    found = ask(part, sent, kind="compare_saes", first=ids[0], second=ids[1])["value"]
    assert len(found["matches"]) == 32
    assert found["histogram"]["title"] == "Largest cosine"
    assert found["facts"][0]["label"] == "Mean max cosine"

    done = ask(part, sent, kind="export_saes", sae_ids=ids, folder=str(tmp_path / "out"), format="sparsify")["value"]
    assert done["problems"] == []
    assert [detect_format(path) for path in done["paths"]] == ["sparsify", "sparsify"]

    ask(part, sent, kind="edit_sae", sae_id=ids[0], name="better", notes="seen", tags=["a"])
    wait_for(lambda: "better" in names(browser))
    ask(part, sent, kind="browse_saes", search="better")
    wait_for(lambda: names(browser) == ["better"])
    assert part.state["total"] == 2
    browser.selected = ids[0]
    assert browser.selected_record is not None
    assert browser.selected_record.notes == "seen"
    ask(part, sent, kind="delete_saes", sae_ids=[ids[0]])
    wait_for(lambda: browser.selected is None and names(browser) == [])
    assert [record.name for record in workspace.saes.list()] == ["second"]


def test_an_upload_becomes_an_sae(
    browser: SAEBrowser, workspace: Workspace, tmp_path: Path, record_messages: Record
) -> None:
    part = browser._parts[0]
    sent = record_messages(part)
    files = files_of(write_sae(tmp_path / "made"))
    announced = [{"name": f"made/{name}", "size": len(data)} for name, data in files.items()]
    upload_id = ask(part, sent, kind="begin_upload", files=announced)["value"]["upload_id"]
    for index, data in enumerate(files.values()):
        for offset in range(0, len(data), 1000):
            chunk = {"kind": "upload_chunk", "upload_id": upload_id, "file": index, "offset": offset}
            part._handle_custom_msg({"id": f"{index}-{offset}", **chunk}, [data[offset : offset + 1000]])
            part.drain()
    answer = ask(part, sent, kind="finish_upload", upload_id=upload_id, name="mine")
    record = workspace.saes.get(answer["value"]["sae_id"])
    assert (record.name, record.source, record.d_sae) == ("mine", "local", 32)
    assert workspace.saes.load(record.id).cfg.k == 4
    assert list((workspace.folder / "uploads").iterdir()) == []
    wait_for(lambda: names(browser) == ["mine"])


def test_a_hostile_upload_is_an_error_in_words(
    browser: SAEBrowser, workspace: Workspace, record_messages: Record
) -> None:
    part = browser._parts[0]
    sent = record_messages(part)
    data = b"PK\x03\x04 this is no zip"
    files = [{"name": "sae.zip", "size": len(data)}]
    upload_id = ask(part, sent, kind="begin_upload", files=files)["value"]["upload_id"]
    part._handle_custom_msg(
        {"id": "c", "kind": "upload_chunk", "upload_id": upload_id, "file": 0, "offset": 0}, [data]
    )
    part.drain()
    answer = ask(part, sent, kind="finish_upload", upload_id=upload_id)
    assert answer["kind"] == "failure"
    assert "Error" not in answer["what"].split(":")[0]
    assert len(workspace.saes.list()) == 0
    assert list((workspace.folder / "uploads").iterdir()) == []


def test_missing_files_are_shown_and_found_again(
    browser: SAEBrowser, workspace: Workspace, tmp_path: Path, record_messages: Record
) -> None:
    part = browser._parts[0]
    sent = record_messages(part)
    folder = write_sae(tmp_path / "made")
    sae_id = ask(part, sent, kind="add_local", path=str(folder))["value"]["sae_id"]
    for file in Path(workspace.saes.get(sae_id).path).glob("*.safetensors"):
        file.unlink()
    wait_for(lambda: ask(part, sent, kind="refresh", revision=0)["value"]["cards"][0]["state"] == "missing")
    details = ask(part, sent, kind="describe_sae", sae_id=sae_id)
    assert details["kind"] == "result"
    assert "no longer in its folder" in details["value"]["problem"]["what"]
    assert details["value"]["settings"], "cfg.json can be read without the weights"
    ask(part, sent, kind="locate_sae", sae_id=sae_id, path=str(folder))
    wait_for(lambda: part.state["cards"][0]["state"] == "ok")
