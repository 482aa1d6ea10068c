"""Rows of extractions: whose they are, how they go, and what lists of SAEs say of them."""

import itertools
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from saewidgets.catalog import Catalog, new_extraction_id
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord
from saewidgets.records import SAERecord
from tests.catalog.conftest import Make
from tests.postgresql import BOTH

DATABASES = BOTH

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
    for changes in (
        {}, {"sae_id": sae.id, "training_id": run.id}, {"sae_id": "sae_none"}, {"sae_id": sae.id, "d_sae": 0},
        {"sae_id": sae.id, "tokens_total": 0},
    ):
        with pytest.raises(IntegrityError):
            make(**changes)


def test_they_and_their_jobs_go_with_their_sae(catalog: Catalog, make: Make, make_sae: Make) -> None:
    sae = make_sae("one")
    kept = make(sae_id=make_sae("two").id)
    make(sae_id=sae.id, job="job_1")
    catalog.jobs.change("job_1", {"status": JobStatus.CANCELLED}, when={JobStatus.QUEUED})
    catalog.saes.delete(sae.id)
    assert [row.id for row in catalog.extractions.list()] == [kept.id]
    with pytest.raises(NotFoundError):
        catalog.jobs.get("job_1")


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
    for wrong in ({"status": "done"}, {"source_type": "hub"}):
        with pytest.raises(ConfigError) as caught:
            catalog.extractions.list(**wrong)  # type: ignore[arg-type]
        assert caught.value.where == next(iter(wrong))
