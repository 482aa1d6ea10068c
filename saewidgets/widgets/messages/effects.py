"""Messages of the extraction viewer on what features do to the model: logit effects of all, loss effects at a token.

The others are in `features.py`.
"""

from __future__ import annotations

from typing import Literal

from saewidgets.widgets.messages.wire import Note, Wire

LogitsAct = Literal["start", "pause", "resume", "cancel"]


class LogitsJob(Wire):
    """The job that computes the logit effects of all features of an extraction."""

    status: str  # JobStatus value
    fraction: float = 0.0
    done: int = 0  # features
    total: int = 0
    eta_seconds: float | None = None
    phase: str | None = None
    queue_position: int | None = None
    note: Note | None = None


class LossEffectData(Wire):
    """What a feature adds to the loss on the token that follows, in nats; or why that is not known."""

    index: int
    effect: float | None = None
    loss: float | None = None  # of the model as it is
    problem: Note | None = None
