"""How long a run will take: from how fast the device multiplies."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus, Progress
from saewidgets.records import JobRecord, TrainingRecord
from saewidgets.training.estimate import ModelSize, evaluation_share, model_flops, sae_flops
from saewidgets.workspace.training import estimates
from saewidgets.workspace.trainings import demo_config
from tests.widgets.seeded_runs import make_record

DEMO = ModelSize(parameters=3_672_320, d_model=256, n_layers=4, vocab_size=4096)
CONFIG = demo_config().replace(**{"sae.d_sae": 2048})


def overall(rate: float, *configs: TrainingConfig) -> Any:
    """With evaluations, of a run or of several together that train at `rate`."""
    return pytest.approx(rate / (1 + evaluation_share(configs, DEMO)))


def rate_of(ws: Any, *configs: TrainingConfig) -> float | None:
    return estimates.rate_together(ws, configs, DEMO, "cpu")


def workspace(*records: TrainingRecord, jobs: tuple[JobRecord, ...] = ()) -> Any:
    trainings = SimpleNamespace(
        by_job=lambda job_id: [r for r in records if r.job_id == job_id],
        list=lambda status, limit: [r for r in records if r.status is status],
    )
    return SimpleNamespace(
        catalog=SimpleNamespace(trainings=trainings), settings=SimpleNamespace(places=()),
        manager=SimpleNamespace(
            list=lambda status: [job for job in jobs if job.status in status], lane=lambda device: f"test/{device}"
        ),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which products were measured; each runs at 1e11 operations per second."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(estimates, "matrix_rate", lambda device, dtype: asked.append((device, dtype)) or 1e11)
    monkeypatch.setattr(estimates, "_measured", {})
    return asked


def test_without_any_run_the_best_of_some_products_counts(
    measured: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace()
    operations = model_flops(CONFIG, DEMO) / estimates.FORWARD_EFFICIENCY
    operations += sae_flops(CONFIG, 256) / estimates.STEP_EFFICIENCY
    assert rate_of(ws, CONFIG) == overall(1e11 / operations, CONFIG)
    for _ in range(5):
        rate_of(ws, CONFIG)
    assert 1 < len(measured) < 6
    rate_of(ws, CONFIG.replace(precision="bfloat16"))
    assert ("cpu", "bfloat16") in measured
    monkeypatch.setattr(estimates, "_measured", {})
    rates = iter([1e10, 3e10, 2e10])
    monkeypatch.setattr(estimates, "matrix_rate", lambda device, dtype: next(rates))
    assert [estimates.speed("cpu", "float32", busy=False) for _ in range(4)] == [1e10, 3e10, 3e10, 3e10]


def test_the_newest_completed_run_on_the_same_model_and_device_tells_how_fast_training_is() -> None:
    costs = {"start": 3.0, "fill": 1e-4, "step": 2e-4}
    run = make_record(
        "before", CONFIG, status=JobStatus.COMPLETED, lane="test/cpu", group_id=None, facts={"costs": costs}
    )
    ws = workspace(run)
    found = estimates.costs_together(ws, [CONFIG], DEMO, "cpu")
    assert found == estimates.Costs(3.0, pytest.approx(1e-4), pytest.approx(2e-4), f"measured in {run.name}")
    window = CONFIG.batch_size * round(CONFIG.activations.shuffle_tokens / CONFIG.batch_size)
    short = CONFIG.replace(tokens=CONFIG.batch_size)
    assert found.seconds(short) == pytest.approx(3 + window * 1e-4 + short.batch_size * 2e-4)
    other = CONFIG.replace(hook_name="blocks.3.hook_resid_post", **{"sae.d_sae": 4096})
    deeper = estimates.costs_together(ws, [other], DEMO, "cpu")
    assert deeper is not None
    assert deeper.fill / found.fill == pytest.approx(model_flops(other, DEMO) / model_flops(CONFIG, DEMO))
    assert deeper.step / found.step == pytest.approx(sae_flops(other, 256) / sae_flops(CONFIG, 256))
    for changes in ({"lane": "test/cuda:0"}, {"model": "gpt2"}, {"group_id": "group_x"}, {"facts": {}}):
        unlike = estimates.costs_together(workspace(replace(run, **changes)), [CONFIG], DEMO, "cpu")
        assert unlike is not None
        assert unlike.basis == "estimated"


def test_what_was_measured_beside_a_run_is_measured_again(measured: list[tuple[str, str]]) -> None:
    busy = workspace(jobs=(JobRecord("job", "training", JobStatus.RUNNING, "test/cpu"),))
    rate_of(busy, CONFIG)
    rate_of(busy, CONFIG)
    assert len(measured) == 1
    rate_of(workspace(), CONFIG)
    assert len(measured) > 2


def _layers(*layers: int, **changes: Any) -> list[TrainingConfig]:
    return [CONFIG.replace(hook_name=f"blocks.{layer}.hook_resid_post", **changes) for layer in layers]


def test_of_several_together_the_forward_counts_once() -> None:
    group = _layers(1, 2, 3)
    rate, alone = rate_of(workspace(), *group), rate_of(workspace(), group[2])
    assert rate is not None
    assert alone is not None
    assert rate < alone < 3 * rate


def test_the_queue_time_sums_the_remaining_work_ahead() -> None:
    progress = Progress(50_000, 2_000_000, "tokens", 6_000.0, 325.0, "training")
    waiting = make_record("waiting", CONFIG, status=JobStatus.QUEUED, job_id="job_waiting", tokens_done=0,
                          tokens_total=600_000)  # fmt: skip
    jobs = (
        JobRecord("job_running", "training", JobStatus.RUNNING, "test/cpu", progress=progress),
        JobRecord("job_waiting", "training", JobStatus.QUEUED, "test/cpu"),
        JobRecord("job_elsewhere", "training", JobStatus.RUNNING, "test/cuda:0"),
    )
    ws = workspace(waiting, jobs=jobs)
    rate = rate_of(ws, CONFIG)
    assert rate is not None
    assert estimates.queue_seconds(ws, "cpu", {"demo": DEMO}) == pytest.approx(325 + 600_000 / rate)
    assert estimates.queue_seconds(ws, "cpu", {}) is None
    assert estimates.queue_seconds(workspace(), "cpu", {}) == 0


def test_a_product_is_really_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1e8 < estimates.matrix_rate("cpu", "float32", seconds=0.01) < 1e15
