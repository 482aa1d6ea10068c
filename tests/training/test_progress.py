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


def test_evaluations_to_come_take_as_long_as_those_so_far(clock):
    """100 steps of 100 tokens, a second each; one evaluation in ten and one at the end; the first is 50 s."""
    recorder = Recorder()
    meter = ProgressMeter(recorder, 10_000, clock, lambda: 10 - meter._step // 10)
    meter.enter("training")
    expected = {9: 91, 10: 90 + 9 * 50, 11: 89 + 9 * 50, 25: 75 + 8 * 30}
    for step in range(1, 26):
        clock.now += 1
        meter.at(step * 100, step)
        if step % 10 == 0:
            meter.enter("evaluating")
            if step == 20:  # the one that begins is still to be spent
                assert recorder.events[-1].eta_seconds == pytest.approx(80 + 9 * 50, rel=0.01)
            clock.now += 50 if step == 10 else 30
            meter.enter("training")
        if step in expected:
            assert recorder.events[-1].eta_seconds == pytest.approx(expected[step], rel=0.01)


def test_of_several_that_are_evaluated_together_it_is_one_evaluation(clock):
    recorder, done = Recorder(), [1000, 1000]
    meter = SharedMeter(recorder, 2000, lambda: done, clock, lambda: 1)
    meter.enter("training")
    for tokens in (100, 200):
        clock.now += 1
        done[:] = [tokens, tokens]
        meter.at(tokens, 1)
    for seconds in (60, 0):  # whoever asks first has all of them measured
        meter.enter("evaluating")
        clock.now += seconds
        meter.enter("training")
        assert recorder.events[-1].eta_seconds == pytest.approx(18 + 60)


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


def test_one_that_catches_up_does_not_make_the_others_seem_done(clock):
    recorder, done = Recorder(), [1000, 5000]
    meter = SharedMeter(recorder, 10_000, lambda: done, clock)
    meter.enter("training")
    for step in range(11, 31):
        clock.now += 1
        done[0] += 100
        meter.at(done[0], step)
    assert recorder.events[-1].eta_seconds == pytest.approx((7000 + 5000) / 100, rel=0.1)  # steps that are left


def test_of_a_group_that_has_ended_the_rate_is_that_of_all(clock):
    done = [0] * 3
    meter = SharedMeter(Recorder(), 1000, lambda: done, clock)
    meter.enter("training")
    for step in range(1, 11):
        for number in range(3):
            clock.now += 1
            done[number] += 100
            meter.at(done[number], step)
    while done:
        done.pop()
        meter.at(1000, 10)
    meter.enter("done")
    assert meter.rate == pytest.approx(100 / 3, rel=0.2)
