"""What the download widget shows: which downloads, revisions, the token, recent listings."""

from __future__ import annotations

import time

import pytest

from saewidgets.errors import CatalogError
from saewidgets.events import JobStatus
from saewidgets.widgets.download.state import LISTINGS, RECENT, DownloadModel
from saewidgets.widgets.messages.hub import HubState, VariantRow
from saewidgets.widgets.messages.wire import Note
from tests.widgets.fake_hub import SPARSIFY, FakeHubWorkspace


@pytest.fixture
def ws() -> FakeHubWorkspace:
    return FakeHubWorkspace()


@pytest.fixture
def model(ws: FakeHubWorkspace) -> DownloadModel:
    return DownloadModel(ws, repository=SPARSIFY, can_open=True)


def ids(model: DownloadModel) -> list[str]:
    model.read()
    return [card.id for card in model.state().downloads]


def test_revision_grows_exactly_when_something_changed(model: DownloadModel, ws: FakeHubWorkspace) -> None:
    first = model.state()
    model.read()
    assert model.state().revision == first.revision
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    model.read()
    assert model.state().revision == first.revision + 1
    assert HubState.model_validate(model.state().model_dump(mode="json")) == model.state()


def test_the_newest_download_comes_first(model: DownloadModel, ws: FakeHubWorkspace) -> None:
    for index in range(3):
        ws.hub.add(f"job_{index}", SPARSIFY, "layers.6", created_at=time.time() - 10 + index)
    assert ids(model) == ["job_2", "job_1", "job_0"]


def test_what_ended_well_long_ago_is_not_listed(model: DownloadModel, ws: FakeHubWorkspace) -> None:
    old = time.time() - RECENT - 60
    for status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED, JobStatus.PAUSED):
        ws.hub.add(status.value, SPARSIFY, "layers.6", status=status, created_at=old, finished_at=old)
    assert sorted(ids(model)) == ["failed", "interrupted", "paused"]


def test_cleared_downloads_are_gone_until_they_go_on(model: DownloadModel, ws: FakeHubWorkspace) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6", status=JobStatus.CANCELLED)
    model.clear(["job_1"])
    assert ids(model) == []
    model.list_again("job_1")
    assert ids(model) == ["job_1"]


def test_the_token_is_not_in_the_state(model: DownloadModel) -> None:
    model.keep_token("  hf_secret \n")
    assert model.token == "hf_secret"
    state = model.state()
    assert state.has_token
    assert "hf_secret" not in state.model_dump_json()
    model.keep_token(None)
    assert model.token is None
    assert not model.state().has_token
    model.keep_token("   ")
    assert model.token is None


def test_rows_of_the_few_newest_listings_are_kept(model: DownloadModel) -> None:
    row = VariantRow(repo=0, path="a", format="saelens", size_bytes=1)
    first = model.keep_listing((row,))
    assert model.rows(first) == (row,)
    for _ in range(LISTINGS):
        last = model.keep_listing(())
    assert model.rows(first) is None
    assert model.rows(last) == ()


def test_devices_and_notices(model: DownloadModel, ws: FakeHubWorkspace) -> None:
    assert model.devices.are_old
    model.devices.read()
    assert [device.id for device in model.state().devices] == ["cpu", "cuda:0"]
    assert not model.devices.are_old
    model.set_notice(Note(what="The catalog is locked."))
    assert model.state().notice == Note(what="The catalog is locked.")


def test_a_read_that_fails_leaves_what_was_known(
    model: DownloadModel, ws: FakeHubWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    assert ids(model) == ["job_1"]

    def broken() -> None:
        raise CatalogError("The catalog is locked.")

    monkeypatch.setattr(ws.hub, "downloads", broken)
    with pytest.raises(CatalogError):
        model.read()
    assert [card.id for card in model.state().downloads] == ["job_1"]
