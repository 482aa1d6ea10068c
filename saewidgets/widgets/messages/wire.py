"""What all messages between Python and the page have in common, and those that all widgets know.

Three channels, never mixed:

* **state**: two small synced traits, `state` (a model of each widget's own) and `theme`;
* **commands**: the page sends `Command` subclasses ``{"id", "kind", …}``; each is answered by an `Ack` in under 10 ms
  and later by a `Result` or a `Failure` with the same `id`;
* **bulk data**: binary buffers behind a `Result` (`columns` names them) or a command (`Command.buffers`), at most 1 MB
  each.

`tools/wire.py` writes the page's types (`js/src/lib/wire.ts`) from them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Base of all wire types: unknown keys are an error on both sides."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Note(Wire):
    """What went wrong, below a card."""

    what: str
    where: str | None = None  # the field, file or object it concerns, where `what` does not name it
    hint: str | None = None
    kind: str = "error"


class Setting(Wire):
    """One line of the table of settings."""

    name: str  # dotted
    value: str
    label: str = ""  # what the form calls it


class DeviceInfo(Wire):
    """One device a run can use."""

    id: str  # "cpu", "cuda:0"
    label: str  # "cuda:0 (8.0 GB)"
    total_bytes: int | None = None
    free_bytes: int | None = None


class Command(Wire):
    """Base of what the page asks for. `buffers`: how many binary buffers of at most 1 MB come with it."""

    buffers: ClassVar[int] = 0

    id: str
    kind: str


class Nudge(Command):
    """Sent while something waits; answered with `Ack`, and once more with what `waiting` asked for, if it is ready.

    ipykernel 7.0 to 7.3 may leave a request that arrives while a reply is being sent unread until another request
    comes. Colab does not show what a worker thread sends.
    """

    kind: Literal["nudge"] = "nudge"
    waiting: list[str] = []  # ids of acknowledged commands without an answer


class Refresh(Command):
    """Pull: answered with the widget's state when its revision is newer than `revision`, else with null."""

    kind: Literal["refresh"] = "refresh"
    revision: int = 0


class TrainDemo(Command):
    """Start the demo training; answered with `{"training_id"}`."""

    kind: Literal["train_demo"] = "train_demo"


class Ack(Wire):
    """The command arrived; its result follows under the same id."""

    id: str
    kind: Literal["ack"] = "ack"


class Result(Wire):
    """`columns` names the binary buffers that travel with it, in order."""

    id: str
    kind: Literal["result"] = "result"
    value: Any = None
    columns: tuple[str, ...] = ()


class Failure(Wire):
    """The command failed: what, where, what to do. `fields` maps dotted field names to one sentence each."""

    id: str
    kind: Literal["failure"] = "failure"
    what: str
    where: str | None = None
    hint: str | None = None
    fields: dict[str, str] = {}
