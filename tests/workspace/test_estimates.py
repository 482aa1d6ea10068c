"""How long a run will take: from how fast the device multiplies, and the share of it that the last run reached."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus, Progress
from saewidgets.records import JobRecord, TrainingRecord
from saewidgets.training.estimate import ModelSize, evaluation_share, flops_per_token
from saewidgets.workspace.training import estimates
from saewidgets.workspace.trainings import demo_config
from tests.widgets.fake_workspace import make_record

DEMO = ModelSize(parameters=3_672_320, d_model=256, n_layers=4, vocab_size=4096)
FACTS = {"model_facts": {"parameters": 3_672_320, "d_model": 256, "n_layers": 4, "vocab_size": 4096}}
CONFIG = demo_config().replace(**{"sae.d_sae": 2048})


def done(name: str, config: TrainingConfig, rate: float, seconds: float = 100.0, **changes: Any) -> TrainingRecord:
    tokens = int(rate * seconds)
    progress = Progress(tokens, tokens, "tokens", rate, 0.0, "done")
    values = {
        "name": name, "status": JobStatus.COMPLETED, "tokens_done": tokens, "progress": progress, "facts": FACTS,
        "seconds_running": seconds, "job_id": f"job_{name}", **changes,
    }  # fmt: skip
    return make_record(name, config, **values)


def overall(rate: float, *configs: TrainingConfig) -> Any:
    """With evaluations, of a run or of several together that train at `rate`."""
    return pytest.approx(rate / (1 + evaluation_share(configs, DEMO)))


def rate_of(ws: Any, config: TrainingConfig, model: ModelSize, device: str) -> tuple[float | None, str]:
    return estimates.rate_together(ws, [config], model, device)


def workspace(*records: TrainingRecord, jobs: tuple[JobRecord, ...] = ()) -> Any:
    trainings = SimpleNamespace(
        list=lambda limit: records, by_job=lambda job_id: [r for r in records if r.job_id == job_id]
    )
    return SimpleNamespace(
        settings=SimpleNamespace(host="test"), catalog=SimpleNamespace(trainings=trainings),
        manager=SimpleNamespace(list=lambda status: [job for job in jobs if job.status in status]),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Which products were measured; each runs at 1e11 operations per second."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(estimates, "matrix_rate", lambda device, dtype: asked.append((device, dtype)) or 1e11)
    monkeypatch.setattr(estimates, "_speed", estimates._Speed())
    return asked


def test_without_any_run_a_product_is_measured_once(measured: list[tuple[str, str]]) -> None:
    ws = workspace()
    rate, basis = rate_of(ws, CONFIG, DEMO, "cpu")
    assert basis == "estimated"
    assert rate == overall(estimates.EFFICIENCY * 1e11 / flops_per_token(CONFIG, DEMO, 256), CONFIG)
    rate_of(ws, CONFIG.replace(**{"sae.k": 8}), DEMO, "cpu")
    assert measured == [("cpu", "float32")]
    rate_of(ws, CONFIG.replace(precision="bfloat16"), DEMO, "cpu")
    assert measured == [("cpu", "float32"), ("cpu", "bfloat16")]


def test_what_was_measured_beside_a_run_is_measured_again(measured: list[tuple[str, str]]) -> None:
    busy = workspace(jobs=(JobRecord("job", "training", JobStatus.RUNNING, "test/cpu"),))
    rate_of(busy, CONFIG, DEMO, "cpu")
    rate_of(busy, CONFIG, DEMO, "cpu")
    assert len(measured) == 1
    rate_of(workspace(), CONFIG, DEMO, "cpu")
    rate_of(busy, CONFIG, DEMO, "cpu")
    assert len(measured) == 2


def test_the_newest_run_of_a_device_says_which_share_is_reached(measured: list[tuple[str, str]]) -> None:
    wide = CONFIG.replace(**{"sae.d_sae": 4096})
    ws = workspace(done("near", wide, 5_000), done("older", CONFIG, 9_000))
    rate, basis = rate_of(ws, CONFIG, DEMO, "cpu")
    assert basis == "estimated from near"
    faster = flops_per_token(wide, DEMO, 256) / flops_per_token(CONFIG, DEMO, 256)
    assert rate == overall(5_000 * faster, CONFIG)
    assert measured == [("cpu", "float32")]
    elsewhere = dataclasses.replace(done("near", wide, 5_000), lane="other/cpu")
    begun = done("begun", CONFIG, 100, tokens_done=2 * CONFIG.batch_size)
    unknown = done("unknown", CONFIG.replace(model="small"), 20_000, facts={})
    broken = done("broken", CONFIG, 7_000)
    broken = dataclasses.replace(broken, config={**broken.config, "sae": {"architecture": "of another version"}})
    for other in (elsewhere, begun, unknown, broken, done("half", CONFIG.replace(precision="bfloat16"), 9_000)):
        assert rate_of(workspace(other), CONFIG, DEMO, "cpu")[1] == "estimated", other.name


def _layers(*layers: int, **changes: Any) -> list[TrainingConfig]:
    return [CONFIG.replace(hook_name=f"blocks.{layer}.hook_resid_post", **changes) for layer in layers]


def test_of_several_together_the_forward_counts_once() -> None:
    group = _layers(1, 2, 3)
    records = [
        done(f"member{n}", config, 2_000, group_id="group_1", job_id="job_group") for n, config in enumerate(group)
    ]
    rate, basis = estimates.rate_together(workspace(*records), group, DEMO, "cpu")
    assert (rate, basis) == (overall(2_000, *group), "estimated from member0")
    alone, _ = rate_of(workspace(*records), group[2], DEMO, "cpu")
    assert rate is not None
    assert alone is not None
    assert 2_000 < alone < 3 * rate
    early = [dataclasses.replace(records[0], tokens_done=10_000), *records[1:]]  # the others went on without it
    assert estimates.rate_together(workspace(*early), group, DEMO, "cpu")[1] == "estimated"


def test_the_queue_is_what_is_left_of_those_ahead() -> None:
    progress = Progress(50_000, 2_000_000, "tokens", 6_000.0, 325.0, "training")
    running = done("running", CONFIG, 500, status=JobStatus.RUNNING, progress=progress)
    waiting = done("waiting", CONFIG, 0, status=JobStatus.QUEUED, seconds_running=0.0, tokens_total=600_000, facts={})
    lane = "test/cpu"
    jobs = (
        JobRecord("job_running", "training", JobStatus.RUNNING, lane, progress=progress),
        JobRecord("job_waiting", "training", JobStatus.QUEUED, lane),
        JobRecord("job_elsewhere", "training", JobStatus.RUNNING, "test/cuda:0"),
    )
    ws = workspace(running, waiting, jobs=jobs)
    rate, _ = estimates.rate_together(ws, [CONFIG], DEMO, "cpu")
    assert rate is not None
    assert estimates.queue_seconds(ws, "cpu", {}) == pytest.approx(325 + 600_000 / rate)
    assert estimates.queue_seconds(workspace(), "cpu", {}) == 0
    nobody_knows = workspace(waiting, jobs=jobs[1:2])
    assert estimates.queue_seconds(nobody_knows, "cpu", {}) is None
    assert estimates.queue_seconds(nobody_knows, "cpu", {"demo": DEMO}) > 0


def test_a_product_is_really_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1e8 < estimates.matrix_rate("cpu", "float32", seconds=0.01) < 1e15
