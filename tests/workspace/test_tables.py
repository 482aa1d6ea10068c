"""Lists as DataFrames: the columns are there before there is a row."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saewidgets.config import TrainingConfig
from saewidgets.feature_records import ExampleRecord, ExtractionRecord, FeatureRecord, LabelRecord
from saewidgets.hub_records import KnownRepo
from saewidgets.records import CheckpointRecord, JobRecord, Records, SAERecord, TemplateRecord, TrainingRecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.steering.presets import PresetRecord
from tests.workspace.library.saes import saelens

_LISTS: dict[str, tuple[Callable[[Workspace], Records[Any]], type[Any]]] = {
    "saes": (lambda ws: ws.saes.list(), SAERecord),
    "trainings": (lambda ws: ws.trainings.list(), TrainingRecord),
    "checkpoints": (lambda ws: ws.catalog.checkpoints.list("train_1"), CheckpointRecord),
    "extractions": (lambda ws: ws.extractions.list(), ExtractionRecord),
    "jobs": (lambda ws: ws.jobs.list(), JobRecord),
    "vanished": (lambda ws: ws.catalog.jobs.stale(1.0), JobRecord),
    "downloads": (lambda ws: ws.hub.downloads(), JobRecord),
    "known": (lambda ws: ws.hub.known()[:0], KnownRepo),
    "templates": (lambda ws: ws.templates.list(), TemplateRecord),
    "presets": (lambda ws: ws.steering.presets.list(), PresetRecord),
}
_OF_AN_SAE: dict[str, tuple[Callable[[Workspace, str], Records[Any]], type[Any]]] = {
    "features": (lambda ws, sae_id: ws.features.list(sae_id=sae_id, limit=0), FeatureRecord),
    "chosen": (lambda ws, sae_id: ws.features.records(sae_id, []), FeatureRecord),
    "noted": (lambda ws, sae_id: ws.catalog.features.list(ws.catalog.features.origin(sae_id)), FeatureRecord),
    "labels": (lambda ws, sae_id: ws.catalog.features.labels(ws.catalog.features.origin(sae_id)), LabelRecord),
    "extractions": (lambda ws, sae_id: ws.extractions.for_sae(sae_id), ExtractionRecord),
}


def _check(found: Records[Any], of: type[Any]) -> None:
    assert len(found) == 0
    names = [each.name for each in fields(of)]
    for records in (found, found[:3]):
        frame = records.to_df()
        assert list(frame.columns) == names
        assert frame.empty
        assert re.search("records: none|No trainings yet", records._repr_html_())
        assert all(str(frame[name].dt.tz) == "UTC" for name in names if name.endswith("_at"))


def test_a_list_without_a_record_has_columns(ws: Workspace, tmp_path: Path) -> None:
    for look, of in _LISTS.values():
        _check(look(ws), of)
    sae_id = ws.saes.add_local(saelens(tmp_path / "one")).id
    for look_at, of in _OF_AN_SAE.values():
        _check(look_at(ws, sae_id), of)
    _check(ws.features.evidence(LabelRecord(0, "words", id="label_none")), ExampleRecord)


def test_times_are_those_of_utc(ws: Workspace, tmp_path: Path) -> None:
    record = ws.saes.add_local(saelens(tmp_path / "one"))
    (added,) = ws.saes.to_df()["created_at"]
    assert added.timestamp() == pytest.approx(record.created_at, abs=1e-3)
    ws.catalog.jobs.add("job_1", kind="count", lane="box/cpu", payload={}, owner="me")
    (row,) = ws.jobs.list().to_df().itertuples()
    assert row.created_at.year >= 2026
    assert row.finished_at is pd.NaT, "it has not"


def test_metrics_before_the_first_step(ws: Workspace, config: TrainingConfig) -> None:
    run = ws.trainings.create(config.replace(tokens=64 * 100_000))  # long enough to be cancelled
    for frame in (run.metrics("no_such_metric"), run.metrics(min_step=10**9)):
        assert list(frame.columns) == ["step", "tokens", "time", "name", "value"]
        assert frame.empty
        assert str(frame["time"].dt.tz) == "UTC"
    run.cancel()
    assert run.wait(240).is_final
