"""Everything that names a row is accepted by every public method: ids, beginnings, names, records, handles."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import saewidgets as sw
from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.lookup import short_name
from tests.workspace.conftest import completed, small_config


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws")) as workspace:
        workspace.extractions.demo()
        yield workspace


@pytest.fixture(scope="module")
def run(ws: Workspace, tiny_model_folder: Path) -> Run:
    found: Run = completed(ws.trainings.create(small_config(tiny_model_folder, name="small run")))
    found.import_to_saes()
    return found


def test_an_sae_by_whatever_names_it(ws: Workspace, run: Run) -> None:
    record = ws.saes.get(run)
    for named in (record, record.id, record.id[:12], record.name, run, run.record, run.id):
        assert ws.saes.find(named).id == record.id
        assert ws.saes.load(named).d_sae == 64
        assert ws.saes.compare(named, named).a == record.id
        assert ws.extractions.defaults(sae_id=named).model == run.config.model
        assert ws.steering.record(named).id == record.id
        assert ws.evaluate(named, tokens=64, progress=False).training_id == run.id
    assert ws.trainings.get(run).id == ws.trainings.get(run.record).id == ws.trainings.get("small run").id == run.id
    assert ws.trainings.metric_columns("small run", ["loss"])["step"].size
    assert ws.jobs.get(run).id == ws.jobs.get(run.record).id == ws.jobs.get(run.job).id == run.job.id
    again = run.config.replace(from_pretrained=record.name)
    assert ws.trainings.concrete(again).from_pretrained == record.id


def test_a_feature_by_whatever_names_it(ws: Workspace) -> None:
    extraction = ws.extractions.demo()
    sae = ws.saes.get(extraction.record.sae_id)
    feature = ws.features.get((sae, 397))
    for named in (feature, feature.id, (sae.name, 397), (sae.id[:12], 397), (extraction, 397)):
        assert ws.features.get(named).index == 397
        assert ws.features.examples(named, limit=1, extraction_id=extraction)[0].tokens
    assert ws.features.get((extraction, 397)).id == f"feat_{sae.id}_397"
    (like, *_) = ws.features.similar(sae.name, 397, n=1)
    assert ws.features.star(like).starred
    for row in ((sae, 397, 2.0), (sae.name, 397, 2.0), (extraction.record.sae_id, 397, 2.0), (feature, 2.0)):
        [(subject, wanted)] = ws.steering.resolve([row])
        assert (subject.id, wanted.index, wanted.strength) == (sae.id, 397, 2.0)
    steered = SteeringFeature(sae=sae.name, index=397, strength=1, mode="add")
    preset = ws.steering.presets.save("mine", SteeringConfig(prompt="The", features=(steered,)))
    assert ws.steering.presets.load(preset).features[0].sae == sae.id
    with sw.steered(None, [(397, 0.1)], sae=sae, ws=ws) as steering:
        assert steering.model is not None


def test_templates_and_groups(ws: Workspace, run: Run) -> None:
    template = ws.templates.save("mine", run)
    for named in (template, template.id, template.id[:12], "mine"):
        assert ws.templates.get(named).id == template.id
        assert "mine" in ws.templates.to_json(named)
    with pytest.raises(NotFoundError, match="whole id"):
        ws.templates.delete(template.id[:12])
    ws.templates.delete(template)


def test_widgets_open_what_a_record_names(ws: Workspace) -> None:
    extraction = ws.extractions.demo()
    sae = ws.saes.get(extraction.record.sae_id)
    viewer = ExtractionViewer(ws, sae=sae)
    assert viewer.extraction is not None
    assert viewer.extraction.id == extraction.id
    viewer.extract(sae.name)
    assert ExtractionViewer(ws, extraction=extraction).extraction == viewer.extraction
    browser = SAEBrowser(ws)
    browser.show(sae.name)
    assert browser.selected_ids == (sae.id,)
    steering = Steering(ws, sae=sae)
    steering.add(sae, 397)
    for widget in (viewer, browser, steering):
        widget.close()


@pytest.mark.parametrize(("named", "kind", "message"), [
    ("smal run", NotFoundError, "There is no SAE 'smal run'. Did you mean 'small run'?"),
    ("", ConfigError, "is empty"),
    (5, ConfigError, "sae_id: Expected an id or a name, got 5. Give an id"),
    ("sae_0", NotFoundError, "There is no SAE 'sae_0'"),
])
def test_what_names_nothing(ws: Workspace, run: Run, named: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        ws.saes.load(named)
    assert message in str(caught.value)


def test_a_snippet_uses_a_unique_name_or_a_short_id(ws: Workspace, run: Run) -> None:
    record = ws.saes.get(run)
    assert '.saes.load("small run")' in ws.saes.load_code(record)["saewidgets"]
    twin = ws.saes.update(ws.saes.add_local(record.path), name=record.name)
    short = short_name(ws, "sae", record.id)
    assert record.id.startswith(short)
    assert len(short) < 20
    assert ws.saes.get(short) == record
    ws.saes.delete(twin)
