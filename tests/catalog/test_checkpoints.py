import pytest

from saewidgets.catalog import Catalog
from saewidgets.catalog.tables import CheckpointRow
from saewidgets.errors import CatalogError
from saewidgets.events import CheckpointSaved, Facts, JobStatus, LogLine, Metrics, Progress
from saewidgets.records import TrainingRecord
from tests.catalog.conftest import Make
from tests.postgresql import BOTH

DATABASES = BOTH


@pytest.fixture
def run(make_training: Make) -> TrainingRecord:
    return make_training()


def _saved(run: TrainingRecord, step: int, *kinds: str, removed: tuple[int, ...] = ()) -> CheckpointSaved:
    def path(s: int) -> str:
        return f"{run.folder}/checkpoints/step_{s:08}"

    return CheckpointSaved(step, step * 10, path(step), kinds, 100, {"fvu": 0.1}, tuple(path(s) for s in removed))  # type: ignore[arg-type]


def test_round_trip_and_totals(catalog: Catalog, run: TrainingRecord) -> None:
    first = catalog.checkpoints.add(run.id, _saved(run, 5, "latest", "best"))
    assert list(catalog.checkpoints.list(run.id)) == [first]
    assert first.path == f"{run.folder}/checkpoints/step_00000005"
    assert (first.kinds, first.metrics, first.size_bytes) == (("latest", "best"), {"fvu": 0.1}, 100)
    catalog.checkpoints.add(run.id, _saved(run, 9, "latest"))
    record = catalog.trainings.get(run.id)
    assert (record.checkpoint_count, record.checkpoint_bytes) == (2, 200)
    assert (record.last_checkpoint_step, record.last_checkpoint_tokens) == (9, 90)


def test_one_latest_and_one_best(catalog: Catalog, run: TrainingRecord) -> None:
    catalog.checkpoints.add(run.id, _saved(run, 5, "latest", "best"))
    catalog.checkpoints.add(run.id, _saved(run, 9, "latest", "every"))
    assert [(c.step, c.kinds) for c in catalog.checkpoints.list(run.id)] == [(5, ("best",)), (9, ("latest", "every"))]
    best = catalog.checkpoints.list(run.id)[1]
    catalog.checkpoints.mark(best.id, ["best", "latest"])
    assert [c.kinds for c in catalog.checkpoints.list(run.id)] == [(), ("best", "latest")]


def test_replaced_ones_are_forgotten(catalog: Catalog, run: TrainingRecord) -> None:
    catalog.checkpoints.add(run.id, _saved(run, 5, "latest"))
    catalog.checkpoints.add(run.id, _saved(run, 9, "latest", removed=(5,)))
    assert [c.step for c in catalog.checkpoints.list(run.id)] == [9]


def test_a_step_written_again_is_one_checkpoint(catalog: Catalog, run: TrainingRecord) -> None:
    first = catalog.checkpoints.add(run.id, _saved(run, 5, "latest"))
    again = catalog.checkpoints.add(run.id, _saved(run, 5, "latest", "final", removed=(5,)))
    assert again.id == first.id
    assert [c.kinds for c in catalog.checkpoints.list(run.id)] == [("latest", "final")]


def test_a_tampered_path_is_not_offered_for_deletion(catalog: Catalog, run: TrainingRecord) -> None:
    record = catalog.checkpoints.add(run.id, _saved(run, 5))

    def tamper(session):  # type: ignore[no-untyped-def]
        session.get(CheckpointRow, record.id).path = "/etc"

    catalog._database.write(tamper)
    with pytest.raises(CatalogError, match="not inside the workspace"):
        catalog.checkpoints.delete(record.id)
    assert len(catalog.checkpoints.list(run.id)) == 1


def test_a_process_that_lost_the_job_writes_nothing(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    catalog.jobs.record("you", [("job_1", None, Metrics(1, 1, {"loss": 1.0})), ("job_1", None, LogLine("x"))])
    assert len(catalog.metrics.query(run.id)) == 0
    assert catalog.jobs.log("job_1") == []


def test_after_the_end_only_log_lines_are_recorded(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    changed = catalog.jobs.change("job_1", {"status": JobStatus.CANCELLED.value}, when=[JobStatus.QUEUED])
    assert changed is not None
    late = [LogLine("a sink was slow", level="warning"), Metrics(1, 1, {"loss": 1.0}), Progress(1, 2)]
    catalog.jobs.record("me", [("job_1", run.id, event) for event in late])
    assert [line.message for line in catalog.jobs.log("job_1", training_id=run.id)] == ["a sink was slow"]
    assert len(catalog.metrics.query(run.id)) == 0
    assert catalog.trainings.get(run.id).tokens_done == 0


def test_a_job_without_a_training_keeps_its_facts(catalog: Catalog) -> None:
    catalog.jobs.add("job_1", kind="download", lane="box/download", payload={}, owner="me")
    catalog.jobs.record("me", [("job_1", None, Facts({"size": 1})), ("job_1", None, Metrics(1, 1, {"x": 1.0}))])
    assert catalog.jobs.get("job_1").result == {"size": 1}
