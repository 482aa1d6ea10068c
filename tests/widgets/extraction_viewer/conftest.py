"""A real workspace with two SAEs, one of which was read by the dialog of a viewer."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saewidgets.events import JobStatus, Progress
from saewidgets.feature_records import ExtractionRecord
from saewidgets.jobs import JobSettings
from saewidgets.widgets.extraction_viewer.commands import ViewerCommands
from saewidgets.widgets.extraction_viewer.state import ViewerModel
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.workspace import Workspace
from tests.conftest import TINY_TEXT
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, ask, run
from tests.workspace.conftest import PATIENCE
from tests.workspace.library.saes import saelens

HOOK = "blocks.0.hook_resid_post"
D = 64
HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture(scope="session")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What somebody types into the dialog."""
    text = tmp_path_factory.mktemp("text")
    for i, document in enumerate(TINY_TEXT):
        (text / f"{i}.txt").write_text(document, "utf-8")
    return {
        "corpus": str(text), "tokens": 100_000, "context_size": 16, "examples": 6, "per_interval": 2,
        "min_activation": 0.01, "exclude_special_tokens": True, "max_norm_ratio": None,
    }  # fmt: skip


@pytest.fixture(scope="session")
def extracted(tiny_model_folder: Path, typed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace with two SAEs, of which "tiny" was read from the dialog on."""
    folder, files = tmp_path_factory.mktemp("extracted") / "ws", tmp_path_factory.mktemp("files")
    with Workspace(folder, jobs=JobSettings(poll=0.05)) as ws:
        about = {"model": str(tiny_model_folder), "hook_name": HOOK}
        ws.saes.add_local(saelens(files / "other", 32, D, seed=1), name="other", **about)
        sae = ws.saes.add_local(saelens(files / "tiny", 32, D), name="tiny", **about)
        viewer = ExtractionViewer(ws, sae="tiny")
        assert viewer.view["dialog_sae"] == sae.id
        started = viewer._commands.start_extraction(sae.id, typed)
        assert viewer.view["tab"] == "jobs"
        assert ws.extractions.get(started["extraction_id"]).wait(PATIENCE) is JobStatus.COMPLETED
        wait_until(lambda: viewer._parts[0].state["cards"][0]["dead"] is not None)
        assert viewer._parts[0].state["cards"][0]["fraction"] == 1.0
        viewer.close()
    return folder


@pytest.fixture
def ws(extracted: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(extracted, tmp_path / "ws")
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        yield workspace


@pytest.fixture
def sae(ws: Workspace) -> str:
    return ws.saes.find("tiny").id


@pytest.fixture
def ext(ws: Workspace) -> str:
    """The id of the extraction."""
    return ws.extractions.list()[0].id


@pytest.fixture
def live(ws: Workspace, ext: str) -> list[int]:
    """Features that fired."""
    return np.flatnonzero(ws.extractions.open(ext).fired).tolist()


@pytest.fixture
def model(ws: Workspace) -> ViewerModel:
    return ViewerModel(ws)


@pytest.fixture
def steered() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def call(model: ViewerModel, ext: str, steered: list[tuple[str, int]]) -> Callable[..., Any]:
    """Do a command about the extraction."""
    steer, wake = (lambda owner, index: steered.append((owner, index))), (lambda: None)
    commands = ViewerCommands(SimpleNamespace(_model=model, workspace=model.workspace, _wake=wake, steer=steer))

    def do(kind: str, **arguments: Any) -> Any:
        known = commands.known()[kind].arguments.model_fields
        given = {"extraction_id": ext} if "extraction_id" in known else {}
        return run(commands, kind, **{**given, **arguments})

    return do


@pytest.fixture
def viewer(ws: Workspace) -> Iterator[ExtractionViewer]:
    widget = ExtractionViewer(ws)
    wait_until(lambda: widget._parts[0].state["open"])  # by the publisher: it costs the import of torch
    yield widget
    widget.close()


@pytest.fixture
def press(viewer: ExtractionViewer, record_messages: Callable[[Any], Sent]) -> Callable[..., dict[str, Any]]:
    sent = record_messages(viewer._parts[0])
    return lambda **command: ask(viewer._parts[0], sent, **command)


@pytest.fixture
def running(ws: Workspace, ext: str, monkeypatch: pytest.MonkeyPatch) -> ExtractionRecord:
    """An extraction of "other" that runs, as the workspace lists it."""
    progress = Progress(done=410, total=1000, rate=9020.0, eta_seconds=65.0, phase="reading")
    record = dataclasses.replace(
        ws.extractions.get(ext).record, id="ext_run_1700000000000000", sae_id=ws.saes.find("other").id, name="other",
        n_tokens=None, status=JobStatus.RUNNING, seen=13, dead=None, tokens_total=1000, progress=progress,
        created_at=0.0,
    )  # fmt: skip
    listed, get = ws.extractions.list, ws.extractions.get
    handle = SimpleNamespace(record=record)
    monkeypatch.setattr(ws.extractions, "list", lambda **query: [*listed(**query), record])
    monkeypatch.setattr(ws.extractions, "get", lambda wanted: handle if wanted == record.id else get(wanted))
    return record


def state(viewer: ExtractionViewer) -> dict[str, Any]:
    return dict(viewer._parts[0].state)


def numbers(table: Any) -> Any:
    return np.frombuffer(table.buffers[0], "<f4")
