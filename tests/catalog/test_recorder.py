from __future__ import annotations

from collections.abc import Callable

from saewidgets.catalog import Catalog
from saewidgets.events import CheckpointSaved, Facts, JobStatus, LogLine, Metrics, Progress
from saewidgets.records import TrainingRecord

Make = Callable[..., TrainingRecord]


def test_every_kind_of_event_finds_its_place(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    events = [
        Facts({"d_in": 256, "parameters": 10, "sae_path": f"{run.folder}/sae"}),
        Metrics(1, 10, {"loss": 2.0}),
        Metrics(2, 20, {"loss": 1.0, "l0": 32.0}),
        CheckpointSaved(2, 20, f"{run.folder}/checkpoints/2", ("latest",), 5),
        LogLine("first"),
        LogLine("second", level="warning"),
        Progress(20, 1000, step=2),
    ]
    catalog.jobs.record("me", [("job_1", None, e) for e in events])
    run = catalog.trainings.get(run.id)
    assert (run.d_in, run.facts, run.sae_path) == (256, {"parameters": 10}, f"{run.folder}/sae")
    assert (run.tokens_done, run.step, run.latest) == (20, 2, {"loss": 1.0, "l0": 32.0})
    assert run.checkpoint_count == 1
    assert catalog.metrics.count(run.id) == 3
    assert [(line.message, line.level) for line in catalog.jobs.log("job_1")] == [
        ("first", "info"), ("second", "warning"),
    ]  # fmt: skip
    assert [line.message for line in catalog.jobs.log("job_1", limit=1)] == ["second"]
    assert [line.message for line in catalog.jobs.log("job_1", limit=1, offset=1)] == ["first"]


def test_one_of_several_runs_of_a_job(catalog: Catalog, make_training: Make) -> None:
    a = make_training("a", job="job_1")
    b = make_training("b", job_id="job_1")
    catalog.jobs.record("me", [("job_1", b.id, Metrics(1, 1, {"loss": 1.0})), ("job_1", None, Progress(5, 10))])
    assert catalog.metrics.count(a.id) == 0
    assert catalog.metrics.count(b.id) == 1
    assert [catalog.trainings.get(r.id).tokens_done for r in (a, b)] == [5, 5]


def test_a_process_that_lost_the_job_writes_nothing(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    catalog.jobs.record("you", [("job_1", None, Metrics(1, 1, {"loss": 1.0})), ("job_1", None, LogLine("x"))])
    assert catalog.metrics.count(run.id) == 0
    assert catalog.jobs.log("job_1") == []


def test_what_is_said_after_the_end_is_in_the_log_and_nothing_else_is(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    changed = catalog.jobs.change("job_1", {"status": JobStatus.CANCELLED.value}, when=[JobStatus.QUEUED])
    assert changed is not None
    late = [LogLine("a sink was slow", level="warning"), Metrics(1, 1, {"loss": 1.0}), Progress(1, 2)]
    catalog.jobs.record("me", [("job_1", run.id, event) for event in late])
    assert [line.message for line in catalog.jobs.log("job_1", training_id=run.id)] == ["a sink was slow"]
    assert catalog.metrics.count(run.id) == 0
    assert catalog.trainings.get(run.id).tokens_done == 0


def test_a_job_without_a_training_keeps_its_facts(catalog: Catalog) -> None:
    catalog.jobs.add("job_1", kind="download", lane="box/download", payload={}, owner="me")
    catalog.jobs.record("me", [("job_1", None, Facts({"size": 1})), ("job_1", None, Metrics(1, 1, {"x": 1.0}))])
    assert catalog.jobs.get("job_1").result == {"size": 1}
