"""Messages of the extraction viewer on what features do to the model: logit effects of all, loss effects at a token.

The others are in `features.py`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from saewidgets.widgets.messages.wire import Command, Note, Wire

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


class LogitsAction(Command):
    """Compute the logit effects of all features, or steer the job that does; answered with null."""

    kind: Literal["logits_action"] = "logits_action"
    extraction_id: str
    action: LogitsAct


class ReadLossEffect(Command):
    """Answered with `LossEffectData`: of a token of an example (`position`), or of a typed text (`text`, `token`)."""

    kind: Literal["read_loss_effect"] = "read_loss_effect"
    extraction_id: str
    index: int = Field(ge=0)
    position: int | None = Field(default=None, ge=0)  # stream position
    text: str | None = Field(default=None, max_length=100_000)
    token: int | None = Field(default=None, ge=0)


class LossEffectData(Wire):
    """What a feature adds to the loss on the token that follows, in nats; or why that is not known."""

    index: int
    effect: float | None = None
    loss: float | None = None  # of the model as it is
    problem: Note | None = None
