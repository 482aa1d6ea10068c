"""Progress: at most ten events a second, rate over training time only."""

import pytest

from saewidgets.training.progress import ProgressMeter, SharedMeter
from tests.training.fakes import Recorder


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_at_most_ten_a_second(clock):
    recorder = Recorder()
    meter = ProgressMeter(recorder, 10_000, clock)
    meter.enter("training")
    for step in range(1, 201):
        clock.now += 0.01
        meter.at(step * 10, step)
    assert 18 <= len(recorder.events) <= 22  # two seconds
    assert recorder.events[-1].step > 190


def test_rate_and_time_left(clock):
    recorder = Recorder()
    meter = ProgressMeter(recorder, 10_000, clock)
    meter.enter("training")
    for step in range(1, 51):
        clock.now += 0.5
        meter.at(step * 100, step)
    last = recorder.events[-1]
    assert last.rate == pytest.approx(200)
    assert last.eta_seconds == pytest.approx(5_000 / 200)
    assert last.fraction == 0.5


def test_evaluating_does_not_slow_the_rate(clock):
    recorder = Recorder()
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


def test_the_rate_is_that_of_the_recent_past(clock):
    meter = ProgressMeter(Recorder(), 10**9, clock)
    meter.enter("training")
    tokens = 0
    for rate in [10] * 60 + [1000] * 60:
        clock.now += 1
        tokens += rate
        meter.at(tokens, 0)
    assert meter.rate == pytest.approx(1000)


def test_phases_before_training_have_no_rate(clock):
    recorder = Recorder()
    meter = ProgressMeter(recorder, 100, clock)
    for phase in ("loading model", "packing text", "measuring scale"):
        meter.enter(phase)
        clock.now += 5
    assert [event.phase for event in recorder.events] == ["loading model", "packing text", "measuring scale"]
    assert all(event.rate is None and event.eta_seconds is None for event in recorder.events)


def test_a_long_phase_before_training_says_how_far_it_is(clock):
    recorder = Recorder()
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


def test_of_several_that_take_turns_the_rate_is_that_of_all(clock):
    """Steps of 100 tokens; one forward of 2 s for all, 4 s for each of five: 22 s, longer than the rate looks back."""
    recorder, done = Recorder(), [0] * 5
    meter = SharedMeter(recorder, 10_000, lambda: done, clock)
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
