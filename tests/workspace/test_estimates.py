"""How long a run will take: measured, scaled from another run, or from how fast the device multiplies."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus, Progress
from saewidgets.records import JobRecord, TrainingRecord
from saewidgets.training.estimate import ModelSize, evaluation_share, flops_per_token, flops_together, model_flops
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
    rate, basis = estimates.rate_of(ws, CONFIG, DEMO, "cpu")
    assert basis == "estimated"
    assert rate == overall(estimates.EFFICIENCY * 1e11 / flops_per_token(CONFIG, DEMO, 256), CONFIG)
    estimates.rate_of(ws, CONFIG.replace(**{"sae.k": 8}), DEMO, "cpu")
    assert measured == [("cpu", "float32")]
    estimates.rate_of(ws, CONFIG.replace(precision="bfloat16"), DEMO, "cpu")
    assert measured == [("cpu", "float32"), ("cpu", "bfloat16")]


def test_what_was_measured_beside_a_run_is_measured_again(measured: list[tuple[str, str]]) -> None:
    busy = workspace(jobs=(JobRecord("job", "training", JobStatus.RUNNING, "test/cpu"),))
    estimates.rate_of(busy, CONFIG, DEMO, "cpu")
    estimates.rate_of(busy, CONFIG, DEMO, "cpu")
    assert len(measured) == 1
    estimates.rate_of(workspace(), CONFIG, DEMO, "cpu")
    estimates.rate_of(busy, CONFIG, DEMO, "cpu")
    assert len(measured) == 2


def test_a_run_of_the_same_settings_is_the_answer(measured: list[tuple[str, str]]) -> None:
    near = done("near", CONFIG.replace(**{"sae.k": 16}), 9_000)
    longer = CONFIG.replace(tokens=5_000_000, seed=4)
    same = done("same", longer, 7_000, seconds=2.0, tokens_done=50 * CONFIG.batch_size)
    found = estimates.rate_of(workspace(near, same), CONFIG, DEMO, "cpu")
    assert found == (overall(7_000, CONFIG), "measured on this device")
    assert measured == []
    elsewhere = dataclasses.replace(same, lane="other/cpu")
    assert estimates.rate_of(workspace(elsewhere), CONFIG, DEMO, "cpu")[1] == "estimated"


def test_the_nearest_run_is_scaled() -> None:
    far = done("far", CONFIG.replace(**{"sae.d_sae": 65_536}), 100)
    near = done("near", CONFIG.replace(**{"sae.d_sae": 4096}), 5_000)
    short = done("short", CONFIG.replace(**{"sae.d_sae": 2049}), 9_999, seconds=2.0)
    rate, basis = estimates.rate_of(workspace(far, near, short), CONFIG, DEMO, "cpu")
    assert basis == "estimated from near"
    wide = flops_per_token(CONFIG.replace(**{"sae.d_sae": 4096}), DEMO, 256)
    assert rate == overall(5_000 * wide / flops_per_token(CONFIG, DEMO, 256), CONFIG)
    assert rate > 5_000


def test_a_run_of_another_model_is_scaled_by_the_sizes_it_found() -> None:
    facts = {"model_facts": {"parameters": None, "d_model": 128, "n_layers": 4, "vocab_size": 1000}}
    other = done("other", CONFIG.replace(model="small"), 20_000, facts=facts)
    rate, basis = estimates.rate_of(workspace(other), CONFIG, DEMO, "cpu")
    assert basis == "estimated from other"
    assert 4_000 < rate < 10_000
    unknown = done("unknown", CONFIG.replace(model="small"), 20_000, facts={})
    assert estimates.rate_of(workspace(unknown), CONFIG, DEMO, "cpu")[1] == "estimated"


def _group(rate: float, configs: list[TrainingConfig], seconds: float = 100.0, **changes: Any) -> list[TrainingRecord]:
    more = {"group_id": "group_1", "job_id": "job_group", **changes}
    return [done(f"member{n}", config, rate, seconds, **more) for n, config in enumerate(configs)]


def _layers(*layers: int, **changes: Any) -> list[TrainingConfig]:
    return [CONFIG.replace(hook_name=f"blocks.{layer}.hook_resid_post", **changes) for layer in layers]


def test_of_several_together_the_forward_counts_once() -> None:
    """Measured alone: the deepest one's forward, and the step of each."""
    alone = [done(f"alone{n}", config, 5_000) for n, config in enumerate(_layers(1, 2, 3))]
    rate, basis = estimates.rate_together(workspace(*alone), _layers(1, 2, 3), DEMO, "cpu")
    assert basis == "estimated from single runs"
    assert rate is not None
    of_model = [model_flops(c, DEMO) / flops_per_token(c, DEMO, 256) / 5_000 for c in _layers(1, 2, 3)]
    assert rate == overall(1 / (max(of_model) + sum(1 / 5_000 - each for each in of_model)), *_layers(1, 2, 3))
    assert 5_000 / 3 < rate < 5_000


def test_a_group_of_the_same_settings_is_the_answer(measured: list[tuple[str, str]]) -> None:
    ws = workspace(*_group(2_000, _layers(1, 2, 3)), *(done(f"a{n}", c, 9_000) for n, c in enumerate(_layers(1, 2, 3))))
    assert estimates.rate_together(ws, _layers(3, 1, 2), DEMO, "cpu") == (2_000, "measured on this device")
    longer = _layers(3, 1, 2, tokens=50_000_000)
    assert estimates.rate_together(ws, longer, DEMO, "cpu") == (overall(2_000, *longer), "measured on this device")
    assert measured == []
    alone = estimates.rate_of(workspace(*_group(2_000, _layers(1, 2, 3))), _layers(3)[0], DEMO, "cpu")
    assert alone[1] == "estimated from member0 and 2 others"
    assert alone[0] is not None
    assert alone[0] > 2_000


def test_the_nearest_group_is_scaled() -> None:
    group, wanted = _layers(1, 2, 3), _layers(1, 2, 3, **{"sae.d_sae": 4096})
    rate, basis = estimates.rate_together(workspace(*_group(2_000, group)), wanted, DEMO, "cpu")
    assert basis == "estimated from member0 and 2 others"
    assert rate == overall(2_000 * flops_together(group, DEMO) / flops_together(wanted, DEMO), *wanted)
    more = estimates.rate_together(workspace(*_group(2_000, group)), _layers(0, 1, 2, 3), DEMO, "cpu")[0]
    assert more is not None
    assert 2_000 * 0.5 < more < 2_000


def test_a_group_of_which_some_ended_early_measures_nothing() -> None:
    members = _group(2_000, _layers(1, 2, 3))
    members[1] = dataclasses.replace(members[1], tokens_done=10_000, status=JobStatus.STOPPED, ended_alone=True)
    assert estimates.rate_together(workspace(*members), _layers(1, 2, 3), DEMO, "cpu")[1] == "estimated"
    progress = Progress(50_000, 2_000_000, "tokens", 3_000.0, 325.0, "training")
    going = [members[1], *(dataclasses.replace(m, status=JobStatus.RUNNING, progress=progress) for m in members[::2])]
    found = estimates.rate_together(workspace(*going), _layers(1, 3), DEMO, "cpu")
    assert found == (overall(3_000, *_layers(1, 3)), "measured on this device")


def test_a_run_on_stored_activations_says_nothing_of_one_with_a_model() -> None:
    stored = CONFIG.replace(corpus={"kind": "activations", "store_id": "store_1"})
    same = done("stored", stored, 50_000)
    assert estimates.rate_of(workspace(same), CONFIG, DEMO, "cpu")[1] != "measured on this device"
    assert estimates.rate_of(workspace(same), stored, DEMO, "cpu") == (50_000, "measured on this device")


def test_a_run_that_is_under_way_counts_with_its_recent_rate() -> None:
    progress = Progress(50_000, 2_000_000, "tokens", 6_000.0, 325.0, "training")
    begun = {"status": JobStatus.RUNNING, "progress": progress, "tokens_done": 50 * CONFIG.batch_size}
    running = done("running", CONFIG, 500, **begun)
    longer = CONFIG.replace(tokens=50_000_000)
    assert estimates.rate_of(workspace(running), longer, DEMO, "cpu")[0] == overall(6_000, longer)
    same = estimates.rate_of(workspace(running), CONFIG, DEMO, "cpu")[0]
    assert same == pytest.approx(running.tokens_total / (100 + 325))  # as long as this one says it will take


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.PAUSED])
def test_the_first_steps_of_a_run_measure_nothing(status: JobStatus) -> None:
    progress = Progress(4096, 2_000_000, "tokens", 211.0, 9_000.0, "training")
    begun = done("begun", CONFIG, 100, status=status, progress=progress, tokens_done=2 * CONFIG.batch_size)
    assert estimates.rate_of(workspace(begun), CONFIG, DEMO, "cpu")[1] == "estimated"


def test_what_a_run_of_few_steps_took_is_known_of_the_same_only() -> None:
    short = CONFIG.replace(tokens=10 * CONFIG.batch_size)
    ended = done("short", short, 500, tokens_done=short.tokens)
    longer = short.replace(tokens=100 * CONFIG.batch_size)
    assert estimates.rate_of(workspace(ended), longer, DEMO, "cpu")[1] == "estimated"
    assert estimates.rate_of(workspace(ended), short, DEMO, "cpu") == (short.tokens / 100, "measured on this device")
    slow = done("slow", short, 500, seconds=120.0)  # its steps took two minutes
    assert estimates.rate_of(workspace(slow), longer, DEMO, "cpu")[1] == "measured on this device"


def test_a_short_run_stands_for_a_long_one_by_how_fast_it_trained() -> None:
    """Its whole time is mostly evaluations, loading and packing: 800 tokens per second, of 6,000 while training."""
    short = CONFIG.replace(**{"sae.d_sae": 256, "tokens": 30_000, "batch_size": 512})
    progress = Progress(29_696, 29_696, "tokens", 6_000.0, 0.0, "done")
    ended = done("short", short, 800, seconds=37.0, progress=progress)
    wide = short.replace(**{"sae.d_sae": 16_384, "tokens": 10_000_000, "batch_size": 4096})
    rate, basis = estimates.rate_of(workspace(ended), wide, DEMO, "cpu")
    assert basis == "estimated from short"
    assert rate == overall(6_000 * flops_per_token(short, DEMO, 256) / flops_per_token(wide, DEMO, 256), wide)
    again = estimates.rate_of(workspace(ended), short, DEMO, "cpu")
    assert again == (pytest.approx(800), "measured on this device")  # what it took, with all of that
    assert evaluation_share([short], DEMO) > 1 > 0.05 > evaluation_share([wide], DEMO) > 0


def test_of_a_run_that_reported_no_rate_the_evaluations_are_taken_out() -> None:
    silent = done("silent", CONFIG, 7_000, progress=None)
    rate, basis = estimates.rate_of(workspace(silent), CONFIG, DEMO, "cpu")
    assert (rate, basis) == (pytest.approx(7_000), "measured on this device")
    longer = estimates.rate_of(workspace(silent), CONFIG.replace(tokens=50_000_000), DEMO, "cpu")[0]
    assert longer is not None
    assert longer > 7_500


def test_text_that_is_not_in_the_catalog_does_not_matter() -> None:
    record = done("same", CONFIG, 7_000)
    record = dataclasses.replace(record, config={**record.config, "corpus": {"kind": "text", "strings": {"at": "x"}}})
    assert estimates.rate_of(workspace(record), CONFIG, DEMO, "cpu")[0] == 7_000
    broken = dataclasses.replace(record, config={**record.config, "sae": {"architecture": "of another version"}})
    assert estimates.rate_of(workspace(broken), CONFIG, DEMO, "cpu")[1] == "estimated"


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
    assert estimates.queue_seconds(ws, "cpu", {}) == pytest.approx(325 + 600_000 / (running.tokens_total / 425))
    assert estimates.queue_seconds(workspace(), "cpu", {}) == 0
    nobody_knows = workspace(waiting, jobs=jobs[1:2])
    assert estimates.queue_seconds(nobody_knows, "cpu", {}) is None
    assert estimates.queue_seconds(nobody_knows, "cpu", {"demo": DEMO}) > 0


def test_a_product_is_really_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1e8 < estimates.matrix_rate("cpu", "float32", seconds=0.01) < 1e15
