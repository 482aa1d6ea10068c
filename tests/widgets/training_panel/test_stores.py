"""The stores of activations that the form offers: what picking one fills in, and why one cannot be picked."""

from __future__ import annotations

from typing import Any

import pytest

from saewidgets.events import JobStatus
from saewidgets.widgets.messages.training import StoreRow
from saewidgets.widgets.training_panel.state import PanelModel
from tests.widgets.conftest import panel_commands
from tests.widgets.fake_workspace import FakeWorkspace


def listed(ws: FakeWorkspace, architecture: str = "topk") -> dict[str, StoreRow]:
    found = panel_commands(PanelModel(ws)).list_stores(architecture=architecture)
    return {row.id: row for row in found.stores}


def test_a_store_fills_in_what_a_training_takes_from_it(ws: FakeWorkspace) -> None:
    ws.activations.add("acts_1", "gpt2 demo")
    row = listed(ws)["acts_1"]
    assert (row.name, row.model, row.tokens, row.size_bytes) == ("gpt2 demo", "gpt2", 2_000_000, 3_072_000_000)
    assert row.hook_names == ("blocks.6.hook_resid_post",)
    assert row.problem == ""
    assert row.values == {
        "corpus": "acts_1", "model": "gpt2", "context_size": 128, "activations.prepend_bos": True,
    }  # fmt: skip


def test_there_may_be_none(ws: FakeWorkspace) -> None:
    assert listed(ws) == {}


def test_imported_states_say_nothing_but_what_they_are(ws: FakeWorkspace) -> None:
    ws.activations.add("acts_1", "states", source="imported", model=None, config={"paths": []}, context_size=None)
    assert listed(ws)["acts_1"].values == {"corpus": "acts_1"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n_tokens": None, "status": JobStatus.RUNNING}, "Its capture is running. Wait until it has completed."),
        ({"n_tokens": None, "status": JobStatus.PAUSED}, "Resume it: saewidgets activations resume acts_1."),
        ({"n_tokens": None, "status": JobStatus.FAILED}, "Its capture failed. Capture the activations again."),
        ({"state": "missing", "state_note": "3 files are missing."}, "3 files are missing."),
        ({"state": "changed", "state_note": "tokens.bin was changed."}, "tokens.bin was changed."),
    ],
)
def test_why_one_cannot_be_read(ws: FakeWorkspace, changes: dict[str, Any], problem: str) -> None:
    ws.activations.add("acts_1", "store", **changes)
    row = listed(ws)["acts_1"]
    assert problem in row.problem
    assert row.tokens == 2_000_000


def test_a_transcoder_needs_two_hook_points(ws: FakeWorkspace) -> None:
    ws.activations.add("acts_1", "one")
    ws.activations.add("acts_2", "two", hook_names=("blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out"))
    assert [row.problem for row in listed(ws, "nothing_like_it").values()] == ["", ""]
    for architecture in ("transcoder", "skip_transcoder"):
        rows = listed(ws, architecture)
        assert "this store holds only one" in rows["acts_1"].problem
        assert rows["acts_2"].problem == ""
