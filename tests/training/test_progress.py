"""Progress and the time that is left; targets that end a run, with and without a pause; what the log tells."""

import itertools

import pytest
import torch

from saewidgets.config import TargetsConfig
from saewidgets.errors import ConfigError
from saewidgets.events import CheckpointSaved, LogLine, Metrics
from saewidgets.training import progress
from saewidgets.training.health import Targets
from saewidgets.training.progress import EVERY, Narrator, ProgressMeter, RunLog
from tests.training.fakes import Recorder, make_config, make_trainer


def _values(fvu=0.3, mse=5.0, l0=40.0):
    return {"val_fvu": fvu, "val_mse": mse, "val_l0": l0}


def test_all_targets_must_hold_at_once_and_often_enough():
    targets = Targets(TargetsConfig(fvu=0.2, mse=4.0, l0_min=20, l0_max=50, evaluations=2))
    assert targets.judge(10, _values(fvu=0.1)) == []  # mse is still too large
    assert targets.judge(20, _values(fvu=0.1, mse=3.0)) == []  # once
    assert targets.judge(30, _values(fvu=0.3, mse=3.0)) == []  # and back to the start
    assert targets.judge(40, _values(fvu=0.1, mse=3.0)) == []
    (line,) = targets.judge(50, _values(fvu=0.1, mse=3.0))
    assert (line.level, targets.reached_at) == ("info", 50)
    assert line.message == "The targets are reached at step 50: FVU 0.1, reconstruction loss 3, L0 40."
    assert targets.judge(60, _values(fvu=0.1, mse=3.0)) == []  # said once
    assert not targets.ends_the_run


def test_an_l0_outside_its_range_is_warned_of_once_per_excursion():
    targets = Targets(TargetsConfig(l0_min=20, l0_max=50, evaluations=2))
    said = [targets.judge(step, _values(l0=l0)) for step, l0 in enumerate([80, 80, 80, 30, 10, 10])]
    assert [[line.level for line in lines] for lines in said] == [[], ["warning"], [], [], [], ["warning"]]
    assert said[1][0].message == "L0 is 80, above its target of 50 (step 1)."
    assert said[5][0].message == "L0 is 10, below its least of 20 (step 5)."


def test_the_end_reports_missed_targets():
    targets = Targets(TargetsConfig(fvu=0.2, l0_max=50))
    assert targets.at_the_end({"val_fvu": 0.25}) == [
        "A target was missed: FVU is 0.25, above its target of 0.2.", "A target was missed: L0 is not known.",
    ]
    targets.judge(5, _values(fvu=0.1))
    assert targets.at_the_end(_values()) == []
    assert Targets(TargetsConfig()).at_the_end({}) == []


@pytest.mark.parametrize(
    ("changes", "field"), [({"l0_min": 5, "l0_max": 4}, "l0_min"), ({"action": "stop"}, "action"), ({"fvu": 0}, "fvu")]
)
def test_targets_that_make_no_sense_are_refused(changes, field):
    with pytest.raises(ConfigError) as caught:
        TargetsConfig(**changes)
    assert caught.value.where == field


def _trainer(folder, config, pause_at=None):
    """Its held-out FVU falls below 0.5 after step 20; a pause cuts log windows, never evaluations."""
    trainer = make_trainer(config, folder, emit=Recorder())
    trainer.evaluate = lambda: _values(fvu=1.0 - trainer.step / 40)
    return trainer


def test_a_run_stops_at_the_same_step_whether_it_was_paused_or_not(tmp_path):
    config = make_config(
        steps=60, **{
            "targets.fvu": 0.5, "targets.action": "stop", "targets.evaluations": 2, "evaluation.every_steps": 4,
            "optimizer.lr_warm_up_steps": 0,
        },
    )  # fmt: skip
    straight = _trainer(tmp_path / "straight", config)
    straight.run()
    assert straight.step == straight.targets.reached_at == 24  # 20 and 24 are the first two in a row
    assert any("The run ends here." in line.message for line in straight.emit.of(LogLine))

    paused = _trainer(tmp_path / "run", config)
    for finished, _ in enumerate(paused.each_step(), start=1):
        if finished == 21:
            break
    again = _trainer(tmp_path / "run", config)
    again.load(paused.save("latest"))
    again.run()
    assert again.step == 24
    assert all(torch.equal(a, b) for a, b in zip(straight.sae.parameters(), again.sae.parameters(), strict=True))
    saved = again.save_end("final")

    ended = _trainer(tmp_path / "run", config)  # resumed once more: it is over already
    ended.load(saved)
    ended.run()
    assert ended.step == 24


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_at_most_ten_a_second(clock, recorder):
    meter = ProgressMeter(recorder, 10_000, clock)
    meter.enter("training")
    for step in range(1, 201):
        clock.now += 0.01
        meter.at(step * 10, step)
    assert 18 <= len(recorder.events) <= 22  # two seconds
    assert recorder.events[-1].step > 190


def test_rate_and_time_left(clock, recorder):
    meter = ProgressMeter(recorder, 10_000, clock)
    meter.enter("training")
    for step in range(1, 51):
        clock.now += 0.5
        meter.at(step * 100, step)
    last = recorder.events[-1]
    assert last.rate == pytest.approx(200)
    assert last.eta_seconds == pytest.approx(5_000 / 200)
    assert last.fraction == 0.5


def test_evaluating_does_not_slow_the_rate(clock, recorder):
    meter = ProgressMeter(recorder, 10_000, clock)
    meter.enter("training")
    for step in range(1, 5):
        clock.now += 1
        meter.at(step * 100, step)
        assert meter.enter("evaluating") == "training"
        clock.now += 60
        meter.enter("training")
    assert meter.rate == pytest.approx(100)
    assert meter.training_seconds == pytest.approx(4)
    assert {event.phase for event in recorder.events} == {"training", "evaluating"}


def test_a_long_phase_before_training_says_how_far_it_is(clock, recorder):
    meter = ProgressMeter(recorder, 100, clock)
    at, unknown = meter.share_of("measuring scale"), meter.share_of("packing text")
    for done in (1_000, 2_000, 2_001):  # a resumed one begins with what was done before
        at(done, 10_000)
        clock.now += 4
    at(10_000, 10_000)
    unknown(2_500_000, None)
    clock.now += 1
    unknown(3_500_000, None)
    assert [event.phase for event in recorder.events] == [
        "measuring scale, 10 %", "measuring scale, 20 %, 32 s left", "measuring scale, 20 %, 1 min 4 s left",
        "measuring scale, 99 %, 0 s left", "packing text, 3.5M tokens",
    ]  # fmt: skip
    assert {(event.rate, event.eta_seconds) for event in recorder.events} == {(None, None)}


def test_of_several_that_take_turns_the_rate_is_that_of_all(clock, recorder):
    """Steps of 100 tokens; one forward of 2 s for all, 4 s for each of five: 22 s, longer than the rate looks back."""
    done = [0] * 5
    meter = ProgressMeter(recorder, 10_000, clock, going=lambda: done)
    meter.enter("training")
    for step in range(1, 11):
        clock.now += 2
        for number in range(5):
            clock.now += 4
            done[number] += 100
            meter.at(done[number], step)
            if step > 1:
                assert meter.rate == pytest.approx(100 / 22, rel=0.2)
    last = recorder.events[-1]
    assert last.eta_seconds == pytest.approx((10_000 - 1000) / 100 * 22, rel=0.2)
    done.pop()  # one has ended: the others are faster from now on
    for step in range(11, 14):
        clock.now += 2
        for number in range(4):
            clock.now += 4
            done[number] += 100
            meter.at(done[number], step)
    assert meter.rate == pytest.approx(100 / 18, rel=0.2)


def test_targets_that_are_met_in_the_warm_up_do_not_count(tmp_path):
    config = make_config(
        steps=40, **{
            "targets.fvu": 0.99, "targets.action": "stop", "evaluation.every_steps": 5, "optimizer.lr_warm_up_steps": 18
        },
    )  # fmt: skip
    trainer = _trainer(tmp_path, config)
    trainer.run()
    assert trainer.step == 20


def said(recorder):
    return [line.message for line in recorder.of(LogLine)]


def metrics(step, **values):
    return Metrics(step, step * 4096, values)


def test_the_course_of_a_run(tmp_path, recorder, clock):
    tell = Narrator(recorder, RunLog(tmp_path, recorder), clock)
    tell(metrics(1, loss=0.5, l0=31.96, fvu=0.4))
    clock.now += EVERY / 2
    tell(metrics(10, loss=0.4, l0=32.0, fvu=0.3))  # too soon for another line
    tell(metrics(10, val_fvu=0.31, val_l0=32.0, ce_loss_score=0.912))
    clock.now += EVERY / 2
    tell(metrics(20, loss=0.285, l0=32.0, fvu=0.119, dead=0.021))
    tell(CheckpointSaved(20, 81_920, str(tmp_path / "c"), ("latest", "every"), 302_000_000))
    tell(CheckpointSaved(30, 122_880, str(tmp_path / "d"), ("latest", "best"), 302_000_000))
    assert said(recorder) == [
        "Step 1 (4.1K tokens): loss 0.5000, L0 32.0, FVU 0.400.",
        "Step 10 (41K tokens), held-out text: FVU 0.310, L0 32.0, CE recovered 0.912.",
        "Step 20 (81.9K tokens): loss 0.2850, L0 32.0, FVU 0.119, dead 2.1 %.",
        "Step 20: checkpoint saved (302 MB).",
        "Step 30: checkpoint saved (302 MB, best).",
    ]
    assert [line.split(maxsplit=2)[2] for line in (tmp_path / "log.txt").read_text().splitlines()] == said(recorder)


def test_the_size_is_bounded(tmp_path, recorder, monkeypatch):
    monkeypatch.setattr(progress, "MAX_BYTES", 1000)
    log = RunLog(tmp_path, recorder)
    for number in range(200):
        log.info(f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log.old.txt", "log.txt"]
    assert all(file.stat().st_size < 1100 for file in files)
    assert files[1].read_text().splitlines()[-1].endswith("line 199")


def test_a_log_that_cannot_be_written_is_reported_once(tmp_path, recorder):
    (tmp_path / "log.txt").mkdir()
    log = RunLog(tmp_path, recorder)
    log.info("one")
    log.info("two")
    warnings = [e for e in recorder.of(LogLine) if e.level == "warning"]
    assert len(warnings) == 1
    assert "cannot be written" in warnings[0].message
    assert [e.message for e in recorder.of(LogLine) if e.level == "info"] == ["one", "two"]


def _alternating(meter, clock, *, window=1000, fill=60.0, step=0.5, windows=4):
    """What a run with windows of 20 forwards and 10 steps tells; yields after every forward and step."""
    meter.set_window(window, in_background=False)
    meter.enter("training")
    meter.at(0, 0)
    for number in range(windows):
        for done in range(0, window, window // 20):
            meter.filling("computing activations", done, window)
            yield
            clock.now += fill / 20
        meter.filling("computing activations", window, window)
        for index in range(1, 11):
            clock.now += step
            meter.at(number * window + index * window // 10, number * 10 + index)
            yield


def test_filling_a_window_is_a_phase_in_which_the_position_advances(clock, recorder):
    """Text takes 60 s and its steps 5 s: the time left counts both to the end, wherever the run is."""
    meter, end = ProgressMeter(recorder, 4000, clock), 100.0 + 4 * 65
    left = []
    for _ in _alternating(meter, clock):
        event = recorder.events[-1]
        if event.eta_seconds is not None and event.done < event.total:
            left.append((event.eta_seconds, end - clock.now))
    assert [each for each, _ in left] == pytest.approx([true for _, true in left], rel=0.1, abs=3.5)
    done = [event.done for event in recorder.events]
    assert done == sorted(done)
    assert max(b - a for a, b in itertools.pairwise(done)) < 60
    assert done[-1] == 4000
    phases = [event.phase for event in recorder.events]
    assert phases[:3] == ["training", "computing activations, 0 %", "computing activations, 5 %"]
    assert {phase for phase in phases if "," not in phase} == {"training"}
    rates = [event.rate for event in recorder.events if event.rate]
    assert rates[-1] == pytest.approx(1000 / 65, rel=0.05)


def test_tokens_are_exact_where_a_run_is_left_in_a_window(clock, recorder):
    meter = ProgressMeter(recorder, 4000, clock)
    for _ in _alternating(meter, clock):
        if recorder.events[-1].step == 13:
            break
    assert recorder.events[-1].done > 1300
    meter.settle()
    assert recorder.events[-1].done == 1300


def test_a_window_that_is_filled_beside_the_steps_costs_what_is_waited_for(clock, recorder):
    meter = ProgressMeter(recorder, 4000, clock)
    meter.set_window(1000, in_background=True)
    meter.enter("training")
    meter.at(0, 0)
    for number in range(3):
        meter.filling("computing activations", 900, 1000)
        clock.now += 2
        meter.filling("computing activations", 1000, 1000)
        for index in range(1, 11):
            clock.now += 1
            meter.at(number * 1000 + index * 100, number * 10 + index)
    assert recorder.events[-1].eta_seconds == pytest.approx(12)
    assert meter.costs == pytest.approx({"start": 0, "step": 0.01, "fill": 0.002})
