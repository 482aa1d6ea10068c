from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import sampled_from

from saewidgets.errors import StateError
from saewidgets.events import JobStatus as S
from saewidgets.events import Request
from saewidgets.jobs.states import OWNED, RESUMABLE, Command, asks_for, check_transition, ending, plan

COMMANDS: tuple[Command, ...] = get_args(Command)


def test_a_wrong_transition_names_both_states() -> None:
    with pytest.raises(StateError, match="completed cannot become running"):
        check_transition(S.COMPLETED, S.RUNNING)


@pytest.mark.parametrize(("command", "status"), list(itertools.product(COMMANDS, S)))
def test_a_plan_is_a_legal_transition_or_an_error_that_helps(command: Command, status: S) -> None:
    try:
        todo = plan(command, status)
    except StateError as raised:
        error = raised
    else:
        error = None
    if error is not None:
        assert status.value in error.what
        assert error.hint
        return
    if todo is None:
        return
    if todo.status is not status:
        check_transition(status, todo.status)
    # a command waits for an owner only where there is one
    assert (todo.command is None) or status in OWNED


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("pause", S.COMPLETED, "A job that has completed cannot be paused. It has ended: nothing is left to pause."),
        ("pause", S.STOPPED, "A job that is stopped cannot be paused. It has ended: nothing is left to pause."),
        ("pause", S.INTERRUPTED, "Nobody works on it: nothing is left to pause. It can be resumed or stopped."),
        ("resume", S.COMPLETED, "A job that has completed cannot be resumed. It has finished; start a new one."),
        ("resume", S.STOPPING, "A job that is stopping cannot be resumed. Wait until that is done."),
        ("stop", S.FAILED, "A job that has failed cannot be stopped. It has ended: nothing is left to stop."),
        ("cancel", S.FAILED, "A job that has failed cannot be cancelled. It has ended: nothing is left to cancel."),
    ],
)
def test_what_makes_no_sense_says_what_is(command: Command, status: S, words: str) -> None:
    with pytest.raises(StateError) as caught:
        plan(command, status)
    assert str(caught.value).endswith(words)


def test_cancel_overrides_stop_but_not_the_other_way_round() -> None:
    todo = plan("cancel", S.STOPPING)
    assert todo is not None
    assert todo.command == "cancel"
    assert plan("stop", S.STOPPING) is None


def test_the_last_demand_decides_the_end() -> None:
    assert ending(S.PAUSED, S.PAUSING, "pause") is S.PAUSED
    assert ending(S.PAUSED, S.PAUSING, "resume") is S.QUEUED
    assert ending(S.PAUSED, S.STOPPING, "stop") is S.STOPPED
    assert ending(S.PAUSED, S.STOPPING, "cancel") is S.CANCELLED
    assert ending(S.COMPLETED, S.STOPPING, "stop") is S.COMPLETED  # it was quicker
    assert ending(S.FAILED, S.PAUSING, "pause") is S.FAILED


class Life(RuleBasedStateMachine):
    """A job and its owner, whatever is asked in whatever order: never an illegal transition, never stuck."""

    @initialize()
    def start(self) -> None:
        self.status, self.command = S.QUEUED, None
        self.delivered = Request.RUN

    def become(self, status: S) -> None:
        if status is not self.status:
            check_transition(self.status, status)
        self.status = status
        if not status.is_active:
            self.command = None

    @rule(command=sampled_from(COMMANDS))
    def ask(self, command: Command) -> None:
        try:
            todo = plan(command, self.status)
        except StateError:
            return
        if todo is not None:
            self.become(todo.status)
            self.command = todo.command

    @precondition(lambda self: self.status is S.QUEUED)
    @rule()
    def begin(self) -> None:
        self.become(S.STARTING)

    @precondition(lambda self: self.status is S.STARTING)
    @rule()
    def reach_the_first_pause_point(self) -> None:
        self.become(S.RUNNING)

    @precondition(lambda self: self.status.is_active)
    @rule(outcome=sampled_from([S.COMPLETED, S.FAILED]))
    def end_by_itself(self, outcome: S) -> None:
        self.become(ending(outcome, self.status, self.command))

    @precondition(lambda self: self.status.is_active and self.command is not None)
    @rule()
    def unwind(self) -> None:
        request = asks_for(self.command) or Request.PAUSE
        outcome = {Request.PAUSE: S.PAUSED, Request.STOP: S.STOPPED, Request.CANCEL: S.CANCELLED}[request]
        self.become(ending(outcome, self.status, self.command))

    @precondition(lambda self: self.status in OWNED)
    @rule()
    def vanish(self) -> None:
        self.become(S.INTERRUPTED)

    @invariant()
    def a_way_on_exists(self) -> None:
        assert self.status is S.COMPLETED or self.status in OWNED | RESUMABLE

    @invariant()
    def commands_wait_only_for_owners(self) -> None:
        assert self.command is None or self.status.is_active


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
