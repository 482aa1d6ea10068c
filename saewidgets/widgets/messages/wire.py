"""The base classes of the messages between Python and the page, and the messages that all widgets share.

Three channels, never mixed:

* **state**: two small synced traits, `state` (a `State` of each widget's own) and `theme`;
* **commands**: the page sends ``{"id", "kind", …}`` (`widgets/commands.py`); answered by an `Ack` in under 10 ms and
  later by a `Result` or a `Failure` with the same `id`;
* **bulk data**: binary buffers behind a `Result` (`columns` names them) or a command, at most 1 MB each.

`tools/wire.py` writes the page's types (`js/src/lib/wire.ts`) from the models here and the signatures of the commands.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Index = Annotated[int, Field(ge=0)]


class Wire(BaseModel):
    """Base of all wire types: unknown keys are an error on both sides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, record: Any, **fields: Any) -> Self:
        """What `record` has under the names of these fields, and `fields`."""
        names = (name for name in cls.model_fields if name not in fields and hasattr(record, name))
        return cls(**{name: getattr(record, name) for name in names}, **fields)


class Note(Wire):
    """What went wrong, below a card."""

    what: str
    where: str | None = None  # the field, file or object it concerns, where `what` does not name it
    hint: str | None = None
    kind: str = "error"


class JobCard(Wire):
    """What runs in the background, as a list shows it."""

    id: str
    status: str  # JobStatus value
    fraction: float = 0.0
    rate: float | None = None  # per second
    eta_seconds: float | None = None
    phase: str | None = None  # "loading model", "retrying", …: shown instead of the rate while it has none
    queue_position: int | None = None
    note: Note | None = None
    created_at: float = 0.0


class State(Wire):
    """Base of the synced trait `state` of every widget. `revision` grows with every change."""

    revision: int = 0
    workspace: str = "default workspace"
    notice: Note | None = None  # concerns the whole workspace (catalog on a network drive, …)
    updated_at: float = 0.0


class Setting(Wire):
    """One line of the table of settings."""

    name: str  # dotted
    value: str
    label: str = ""  # what the form calls it


class Deleted(Wire):
    """A run or an SAE whose deletion can be undone."""

    id: str
    name: str


class BulkResult(Wire):
    """What came of something that was asked of several runs or SAEs."""

    done: tuple[str, ...] = ()  # ids
    paths: tuple[str, ...] = ()  # what was written, in the same order
    problems: tuple[Note, ...] = ()  # `where` is the name of the run or SAE


class Nudge(Wire):
    """Sent while something waits; answered with `Ack`, and once more with what `waiting` asked for, if it is ready.

    ipykernel 7.0 to 7.3 may leave a request that arrives while a reply is being sent unread until another request
    comes. Colab does not show what a worker thread sends.
    """

    id: str
    kind: Literal["nudge"] = "nudge"
    waiting: list[str] = []  # ids of acknowledged commands without an answer


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
