"""What each command does to a job in each state.

::

    queued → starting → running ⇄ (pausing →) paused → completed | failed | stopped | cancelled
                           └──── stopping ────┘           interrupted: its owner vanished

Everything that has ended except a completed job can be resumed, which queues it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from saewidgets.errors import StateError
from saewidgets.events import JobStatus as S
from saewidgets.events import Request

JobCommand = Literal["pause", "resume", "stop", "cancel"]

RESUMABLE = frozenset({S.PAUSED, S.INTERRUPTED, S.FAILED, S.STOPPED, S.CANCELLED})
OWNED = frozenset({S.QUEUED, S.STARTING, S.RUNNING, S.PAUSING, S.STOPPING})
"""A live process has (or should have) the job in hand."""

WORKING = OWNED - {S.QUEUED}

_REQUESTS: Mapping[str, Request] = {"pause": Request.PAUSE, "stop": Request.STOP, "cancel": Request.CANCEL}
_DOING = {"pause": "paused", "resume": "resumed", "stop": "stopped", "cancel": "cancelled"}


@dataclass(frozen=True, slots=True)
class Transition:
    """What a command does to a row: the status it gets and the command that waits for its owner."""

    status: S
    command: JobCommand | None = None


_IDLE = (S.QUEUED, S.PAUSED, S.INTERRUPTED)
_WORKING = (S.STARTING, S.RUNNING)
_PLANS: Mapping[JobCommand, Mapping[S, Transition | None]] = {
    # In a job that is pausing it also takes back a resume that came in between.
    "pause": {
        S.QUEUED: Transition(S.PAUSED), S.PAUSED: None,
        **dict.fromkeys((*_WORKING, S.PAUSING), Transition(S.PAUSING, "pause")),
    },
    "stop": {
        **dict.fromkeys(_IDLE, Transition(S.STOPPED)),
        **dict.fromkeys((*_WORKING, S.PAUSING), Transition(S.STOPPING, "stop")),
        **dict.fromkeys((S.STOPPING, S.STOPPED, S.CANCELLED)),
    },
    "cancel": {
        **dict.fromkeys(_IDLE, Transition(S.CANCELLED)),
        **dict.fromkeys((*_WORKING, S.PAUSING, S.STOPPING), Transition(S.STOPPING, "cancel")),
        **dict.fromkeys((S.STOPPED, S.CANCELLED)),
    },
    "resume": {
        **dict.fromkeys(RESUMABLE, Transition(S.QUEUED)),
        S.PAUSING: Transition(S.PAUSING, "resume"),
        **dict.fromkeys((S.QUEUED, *_WORKING)),
    },
}  # fmt: skip


def plan(command: JobCommand, status: S) -> Transition | None:
    """What `command` does to a job in `status`; None where it is already so."""
    if status not in _PLANS[command]:
        raise _refusal(command, status)
    return _PLANS[command][status]


def asks_for(command: str | None) -> Request | None:
    """The request to a running job; None for no command and for a resume."""
    return _REQUESTS.get(command) if command is not None else None


def ending(outcome: S, status: S, command: str | None) -> S:
    """The status a job gets whose runner ended with `outcome` while its row said `status` and `command`. The last
    demand wins: one that had already unwound for a pause when Stop arrived is stopped."""
    if outcome is S.PAUSED and status is S.STOPPING:
        return S.CANCELLED if command == "cancel" else S.STOPPED
    if outcome is S.PAUSED and command == "resume":
        return S.QUEUED
    return outcome


def _refusal(command: JobCommand, status: S) -> StateError:
    verb = "has" if status in (S.COMPLETED, S.FAILED) else "is"
    if command != "resume" and status in (S.COMPLETED, S.FAILED, S.STOPPED, S.CANCELLED):
        hint = f"It has ended: there is nothing to {command}."
    elif status is S.INTERRUPTED:
        hint = f"No process works on it: there is nothing to {command}. It can be resumed or stopped."
    else:
        hint = _next_step(status)
    return StateError(f"A job that {verb} {status} cannot be {_DOING[command]}.", hint=hint)


def _next_step(status: S) -> str:
    if status is S.COMPLETED:
        return "It has finished; start a new one."
    if status in RESUMABLE:
        return "Resume it first."
    return "Wait until that is done."
