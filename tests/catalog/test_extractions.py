"""Rows of extractions: whose they are, how they go, and what lists of SAEs say of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from saewidgets.catalog import Catalog, new_extraction_id
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import Facts, JobStatus, Progress
from saewidgets.feature_records import ExtractionRecord
from saewidgets.records import SAERecord
from tests.catalog.conftest import Make

_numbers = itertools.count()


@pytest.fixture
def make_sae(catalog: Catalog) -> Make:
    def make(name: str = "sae", **changes: Any) -> SAERecord:
        values: dict[str, Any] = {
            "name": name, "source": "local", "architecture": "topk", "d_in": 8, "d_sae": 64, "format": "saelens",
            "path": catalog.files.folder / "saes" / name, "model": "gpt2",
        }  # fmt: skip
        return catalog.saes.add(**{**values, **changes})

    return make


@pytest.fixture
def make(catalog: Catalog) -> Make:
    """An extraction of an SAE or a training, with a job if one is named."""

    def made(*, job: str | None = None, **changes: Any) -> ExtractionRecord:
        name = f"{new_extraction_id(changes.get('sae_id') or changes.get('training_id') or 'x')}{next(_numbers)}"
        if job is not None:
            catalog.jobs.add(job, kind="extraction", lane="box/cpu", payload={}, owner="me")
        values: dict[str, Any] = {
            "id": name, "config": {"tokens": 1000}, "model": "gpt2", "hook_name": "blocks.6.hook_resid_post",
            "layer": 6, "d_sae": 64, "tokens_total": 1000, "folder": catalog.files.folder / "extractions" / name,
            "job_id": job,
        }  # fmt: skip
        return catalog.extractions.create(**{**values, **changes})

    return made


def test_a_row_belongs_to_a_training_or_to_an_sae(make: Make, make_sae: Make, make_training: Make) -> None:
    sae, run = make_sae(), make_training()
    assert make(sae_id=sae.id).source_type == "sae"
    assert make(training_id=run.id).source_type == "training"
    for changes in ({}, {"sae_id": sae.id, "training_id": run.id}):
        with pytest.raises(IntegrityError):
            make(**changes)
    for changes in ({"sae_id": "sae_none"}, {"sae_id": sae.id, "d_sae": 0}, {"sae_id": sae.id, "tokens_total": 0}):
        with pytest.raises(IntegrityError):
            make(**changes)


def test_the_record(catalog: Catalog, make: Make, make_sae: Make) -> None:
    sae = make_sae("gemma", source="huggingface")
    record = make(sae_id=sae.id, job="job_1", facts={"prepend_bos": True})
    assert (record.name, record.source, record.sae_id, record.training_id) == ("gemma", "huggingface", sae.id, None)
    assert (record.status, record.queue_position, record.seen, record.has_data) == (JobStatus.QUEUED, 1, None, False)
    assert record.facts == {"prepend_bos": True}
    assert Path(record.folder) == catalog.files.folder / "extractions" / record.id
    catalog.jobs.record("me", [("job_1", None, Progress(5, 10)), ("job_1", None, Facts({"seen": 7}))])
    record = catalog.extractions.get(record.id)
    assert record.progress is not None
    assert (record.progress.done, record.seen) == (5, 7)
    record = catalog.extractions.update(record.id, n_tokens=900, seen=60, dead=4, dense=1, size_bytes=12)
    assert (record.n_tokens, record.seen, record.dead, record.dense, record.has_data) == (900, 60, 4, 1, True)
    with pytest.raises(ValueError, match="no columns colour"):
        catalog.extractions.update(record.id, colour="red")
    with pytest.raises(NotFoundError):
        catalog.extractions.get("ext_none")


def test_a_training_and_its_sae_are_one(catalog: Catalog, make: Make, make_sae: Make, make_training: Make) -> None:
    run = make_training("run")
    of_training = make(training_id=run.id)
    assert (of_training.name, of_training.sae_id) == ("run", None)
    sae = make_sae("imported", source="trained", training_id=run.id)
    of_sae = make(sae_id=sae.id)
    for origin in (run.id, sae.id):
        assert [r.id for r in catalog.extractions.list(origin=origin)] == [of_sae.id, of_training.id]
    again = catalog.extractions.get(of_training.id)
    assert (again.name, again.sae_id, again.training_id, again.source_type) == ("imported", sae.id, run.id, "training")
    assert catalog.extractions.get(of_sae.id).training_id == run.id

    other = make_sae("other")
    assert not catalog.extractions.list(origin=other.id)
    with pytest.raises(NotFoundError):
        catalog.extractions.list(origin="sae_none")
    with pytest.raises(NotFoundError):
        catalog.extractions.list(origin="train_none")


def test_they_go_with_their_sae(catalog: Catalog, make: Make, make_sae: Make) -> None:
    sae, other = make_sae("one"), make_sae("two")
    record, kept = make(sae_id=sae.id, job="job_1"), make(sae_id=other.id)
    catalog.jobs.change("job_1", {"status": JobStatus.CANCELLED}, when={JobStatus.QUEUED})
    assert catalog.extractions.owned_by(sae_id=sae.id) == {record.id: Path(record.folder)}
    catalog.saes.delete(sae.id)
    assert [r.id for r in catalog.extractions.list()] == [kept.id]
    assert catalog.extractions.existing([record.id, kept.id]) == {kept.id}
    with pytest.raises(NotFoundError):
        catalog.jobs.get("job_1")


def test_they_go_with_their_training_unless_it_was_imported(
    catalog: Catalog, make: Make, make_sae: Make,
    make_training: Make,
) -> None:
    run, other = make_training("run"), make_training("other")
    sae = make_sae("imported", source="trained", training_id=run.id)
    moved = make(training_id=run.id)
    make(training_id=other.id)
    catalog.trainings.delete(run.id)
    catalog.trainings.delete(other.id)
    (left,) = catalog.extractions.list()
    assert (left.id, left.sae_id, left.training_id, left.source_type) == (moved.id, sae.id, None, "sae")


def test_a_training_that_is_read_is_not_deleted(catalog: Catalog, make_training: Make) -> None:
    run = make_training("run")
    catalog.jobs.add("job_1", kind="extraction", lane="box/cpu", payload={"training_id": run.id}, owner="me")
    with pytest.raises(StateError, match="job_1"):
        catalog.trainings.delete(run.id)
    catalog.jobs.change("job_1", {"status": JobStatus.CANCELLED}, when={JobStatus.QUEUED})
    catalog.trainings.delete(run.id)


def test_saes_say_how_many_latents_fired(catalog: Catalog, make: Make, make_sae: Make, make_training: Make) -> None:
    run = make_training("run")
    sae, other = make_sae("imported", source="trained", training_id=run.id), make_sae("other")
    first = make(sae_id=sae.id)
    assert catalog.saes.get(sae.id).features_extracted == 0
    catalog.extractions.update(first.id, n_tokens=10, seen=40)
    assert catalog.saes.get(sae.id).features_extracted == 40
    second = make(training_id=run.id)  # newer, and of the same weights
    catalog.extractions.update(second.id, n_tokens=10, seen=50)
    make(sae_id=sae.id)  # has no end yet
    assert {r.name: r.features_extracted for r in catalog.saes.list()} == {"imported": 50, "other": 0}
    assert catalog.saes.get(other.id).features_extracted == 0


def test_filters(catalog: Catalog, make: Make, make_sae: Make, make_training: Make) -> None:
    first = make(sae_id=make_sae("gemma 100%").id, job="job_1")
    second = make(training_id=make_training("run").id)
    catalog.extractions.update(second.id, n_tokens=1, seen=1)
    for filters, expected in (
        ({"limit": 1, "offset": 1}, [first]), ({"status": "queued"}, [first]), ({"source_type": "sae"}, [first]),
        ({"status": [JobStatus.COMPLETED]}, [second]), ({"source_type": "training"}, [second]),
        ({"search": "GEMMA gpt2"}, [first]), ({"search": "0%"}, [first]), ({"search": "run \ud800"}, []),
        ({"has_data": True}, [second]),
    ):
        assert [r.id for r in catalog.extractions.list(**filters)] == [r.id for r in expected]  # type: ignore[arg-type]
    for wrong in ({"status": "done"}, {"source_type": "hub"}, {"limit": -1}, {"offset": True}):
        with pytest.raises(ConfigError) as caught:
            catalog.extractions.list(**wrong)  # type: ignore[arg-type]
        assert caught.value.where == next(iter(wrong))
