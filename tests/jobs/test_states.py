import itertools
from typing import get_args

import pytest

from saewidgets.errors import StateError
from saewidgets.events import JobStatus as S
from saewidgets.events import Request
from saewidgets.jobs.states import OWNED, RESUMABLE, JobCommand, asks_for, ending, plan

COMMANDS: tuple[JobCommand, ...] = get_args(JobCommand)


@pytest.mark.parametrize(("command", "status"), list(itertools.product(COMMANDS, S)))
def test_a_plan_is_a_way_on_or_an_error_that_helps(command: JobCommand, status: S) -> None:
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
    assert (todo.status is S.QUEUED) == (command == "resume" and status in RESUMABLE)
    # a command waits for an owner only where there is one
    assert (todo.command is None) or status in OWNED


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("pause", S.COMPLETED, "A job that has completed cannot be paused. It has ended: there is nothing to pause."),
        ("pause", S.STOPPED, "A job that is stopped cannot be paused. It has ended: there is nothing to pause."),
        ("pause", S.INTERRUPTED, "No process works on it: there is nothing to pause. It can be resumed or stopped."),
        ("resume", S.COMPLETED, "A job that has completed cannot be resumed. It has finished; start a new one."),
        ("resume", S.STOPPING, "A job that is stopping cannot be resumed. Wait until that is done."),
        ("stop", S.FAILED, "A job that has failed cannot be stopped. It has ended: there is nothing to stop."),
        ("cancel", S.FAILED, "A job that has failed cannot be cancelled. It has ended: there is nothing to cancel."),
    ],
)
def test_rejected_commands_say_what_can_be_done(command: JobCommand, status: S, words: str) -> None:
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


@pytest.mark.parametrize("command", [None, *COMMANDS])
@pytest.mark.parametrize("status", [status for status in S if status.is_active])
def test_however_a_job_ends_a_way_on_exists(status: S, command: JobCommand | None) -> None:
    asked = {Request.PAUSE: S.PAUSED, Request.STOP: S.STOPPED, Request.CANCEL: S.CANCELLED}
    unwound = asked.get(asks_for(command) or Request.PAUSE, S.PAUSED)
    waits = {S.PAUSING: ("pause", "resume"), S.STOPPING: ("stop", "cancel")}
    if command in waits.get(status, (None,)):  # commands that wait where they are
        for outcome in (S.COMPLETED, S.FAILED, unwound):
            end = ending(outcome, status, command)
            assert end is S.COMPLETED or end in OWNED | RESUMABLE
            assert status is not S.STOPPING or end is not S.PAUSED
