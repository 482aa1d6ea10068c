"""Lists, records, configurations and namespaces are compact and readable, and all text in them is text."""

import dataclasses
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saewidgets as sw
from saewidgets.config import SteeringConfig
from saewidgets.feature_records import ExampleRecord
from saewidgets.records import Records
from saewidgets.workspace import Workspace
from saewidgets.workspace.training.advice import Advice
from tests.widgets.seeded_runs import make_record
from tests.workspace.conftest import completed, small_config

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws")) as workspace:
        workspace.extractions.demo()
        run = completed(workspace.trainings.create(small_config(tiny_model_folder, name=HOSTILE)))
        run.import_to_saes()
        workspace.templates.save(HOSTILE, run, description=HOSTILE)
        workspace.steering.presets.save(HOSTILE, SteeringConfig(prompt=HOSTILE))
        yield workspace


def test_every_list_is_a_small_table_of_text(ws: Workspace) -> None:
    run = ws.trainings.get(HOSTILE)
    lists: list[Any] = [
        ws.trainings.list(), ws.saes.list(), ws.extractions.list(), ws.activations.list(), ws.templates.list(),
        ws.jobs.list(), ws.hub.known(), ws.steering.presets.list(), run.checkpoints(), run.advice(),
        ws.features.list(sae_id="demo-blocks-0", limit=9),
    ]  # fmt: skip
    for records in lists:
        page = records._repr_html_()
        assert "<script" not in page
        assert page.count("<tr") <= 40
        assert page.count("<th") <= 12
        assert " object at 0x" not in repr(records) + page
        assert "{" not in page, "a configuration"
        for record in records[:1]:
            assert "<script" not in record._repr_html_()
            assert len(repr(record)) < 700
    for records in lists[:2]:
        assert str(ws.folder.parent) not in repr(records) + records._repr_html_(), "the path of a model"
    assert "tiny-gpt2" in repr(ws.trainings.list())
    frame = ws.trainings.list().to_df()
    assert {"config", "folder", "latest"} <= set(frame)


def test_long_lists_say_how_many_are_left() -> None:
    record = make_record("train_1", small_config("demo"))
    many = Records([dataclasses.replace(record, id=f"{n}") for n in range(30)], type(record))
    assert "and 5 more" in many._repr_html_()
    assert repr(many).endswith("and 5 more")
    assert repr(many[:0]) == "<Training records: 0>"


def test_examples_are_highlighted() -> None:
    example = ExampleRecord(("a", "\n", "<b>", " end"), (0.0, 0.0, 4.0, 1.0), 2, 4.0)
    page = Records([example], ExampleRecord)._repr_html_()
    assert re.search(r"a↵<i style=[^>]*background[^>]*bold[^>]*>&lt;b&gt;</i> <i style=[^>]*>end</i>", page)
    assert repr(example) == "<ExampleRecord Value 4.000 · Text a↵«<b>» end>"


def test_advice_is_a_table() -> None:
    advice = Advice("nan", "Title", "Text", "Why", changes={"sae.k": 16})
    assert "sae.k = 16" in Records([advice], Advice)._repr_html_()


def test_configurations_show_what_was_set() -> None:
    config = sw.TrainingConfig(sae=sw.TopKConfig(d_sae=64, k=4), tokens=9000)
    assert repr(config) == "TrainingConfig(sae=TopKConfig(d_sae=64, k=4), tokens=9000)"
    assert repr(sw.TrainingConfig(optimizer=sw.OptimizerConfig(lr=1.0))) == (
        "TrainingConfig(optimizer=OptimizerConfig(lr=1.0))"
    )


def test_namespaces_show_what_they_hold(ws: Workspace) -> None:
    for name in ("trainings", "saes", "features", "hub", "steering", "jobs", "templates", "extractions", "activations"):
        part = getattr(ws, name)
        assert repr(part).count("\n") in (1, 2)
        assert "Methods" in part._repr_html_()
    assert "Holds: 2" in repr(ws.saes)
    assert "ws.saes" in ws._repr_html_()


def test_a_run_in_a_cell_is_followed(
    ws: Workspace, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Display:
        def __init__(self) -> None:
            self.shown: list[dict[str, str]] = []

        def __call__(self, data: dict[str, str], **_: Any) -> "Display":
            self.shown.append(data)
            return self

        update = __call__

    class Shell:
        kernel = None

    display = Display()
    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("IPython.get_ipython", Shell)
    monkeypatch.setattr("saewidgets.workspace.handle._REDRAWN", 0.02)
    run = ws.trainings.create(small_config(tiny_model_folder, tokens=3_000))
    run._ipython_display_()
    completed(run)
    until = time.monotonic() + 20
    while "Completed" not in display.shown[-1]["text/html"] and time.monotonic() < until:
        time.sleep(0.02)
    assert any("<progress" in each["text/html"] for each in display.shown)
    assert "Completed" in display.shown[-1]["text/html"]
    assert "<progress" not in display.shown[-1]["text/html"]
    before = len(display.shown)
    run._ipython_display_()
    assert len(display.shown) == before + 1
