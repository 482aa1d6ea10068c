"""`JobHandle`: what `Run`, `TrainingGroup`, `Extraction` and `Capture` have in common, with the verbs of their job."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import Progress
from saewidgets.jobs import Job, Verbs
from saewidgets.render import Html, facts_card, tag
from saewidgets.render.html import join
from saewidgets.render.numbers import duration

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

R = TypeVar("R")
_REDRAWN = 0.5  # seconds between two looks at a job that a card follows


def or_deleted(show: Callable[[Any], str]) -> Callable[[Any], str]:
    """A `__repr__` or `_repr_html_` that says so where the catalog no longer has it: a notebook shows the last line of
    a cell without asking whether it is still there."""

    @functools.wraps(show)
    def shown(handle: JobHandle[Any]) -> str:
        try:
            return show(handle)
        except NotFoundError:
            if handle._exists():  # something else is missing
                raise
        if show.__name__ == "__repr__":
            return f"<{type(handle).__name__} {handle.id} · deleted>"
        return str(facts_card(handle.id, {"Status": "Deleted"}))

    return shown


class JobHandle(Verbs, Generic[R]):
    """Something of the catalog, a record `R`, that a job works on. It holds no state of its own: every property reads
    the catalog. A subclass defines what it is (`_what`) and which table of the catalog its rows are in."""

    _what: ClassVar[str]

    def __init__(self, workspace: Workspace, rows: Any, row_id: str) -> None:
        self._workspace, self._manager = workspace, workspace.manager
        self._rows = rows
        self.id = row_id

    def _exists(self) -> bool:
        try:
            self._rows.get(self.id)
        except NotFoundError:
            return False
        return True

    @property
    def record(self) -> R:
        """Everything the catalog knows of it now. Raises `NotFoundError` if it was deleted."""
        self._manager.sweep()
        record: R = self._rows.get(self.id)
        return record

    @property
    def progress(self) -> Progress | None:
        """How far it is: of what has not begun to tell, its status is the phase. None if it ended without telling."""
        record: Any = self.record
        unknown = None if record.status.is_final else Progress(0, record.tokens_total, phase=record.status.value)
        return record.progress or unknown

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self._rows.get(self.id).folder)

    @property
    def job(self) -> Job:
        """The background job that runs it."""
        return self._manager.handle(self._job_id)

    @property
    def _job_id(self) -> str:
        record = self._rows.get(self.id)
        job_id: str | None = record.job_id
        if job_id is None:  # the demo's extraction, say, which ran before it came here
            raise StateError(
                f"The {self._what} is {record.status.value}, and no job here runs it.", where=self.id,
                hint="Start a new one.",
            )
        return job_id

    @or_deleted
    def __repr__(self) -> str:
        record: Any = self.record
        parts = [record.name, record.status.value, *(f"{name} {text}" for name, text in self._facts(record).items())]
        if record.error:
            parts.append(record.error.what)
        return f"<{type(self).__name__} {self.id} · {' · '.join(parts)}>"

    @or_deleted
    def _repr_html_(self) -> str:
        record: Any = self.record
        facts = {"Status": record.status.value.capitalize(), **self._facts(record)}
        if record.error:
            facts["Error"] = record.error.message
        return str(facts_card(record.name, facts | self._progress(record)))

    def _progress(self, record: Any) -> dict[str, Html]:
        """A bar with the phase and the time left, while the job is going on."""
        done = self.progress
        if record.status.is_final or done is None:
            return {}
        left = f" · {duration(done.eta_seconds)} left" if done.eta_seconds else ""
        bar = tag("progress", value=f"{done.fraction:.4f}", max="1", style="width:180px;vertical-align:middle")
        return {"Progress": join([bar, f" {done.fraction:.0%} · {done.phase}{left}"])}

    def _ipython_display_(self) -> None:
        """Show the card. In a notebook it follows the job until that has ended, and is saved as it was last."""
        # IPython: a tenth of a second to import.
        from IPython import get_ipython
        from IPython.display import display

        def shown() -> dict[str, str]:
            return {"text/plain": repr(self), "text/html": self._repr_html_()}

        first, going = shown(), self._exists() and not self.status.is_final
        if not (going and hasattr(get_ipython(), "kernel")):
            display(first, raw=True)  # type: ignore[no-untyped-call]
            return
        view = display(first, raw=True, display_id=True)  # type: ignore[no-untyped-call]

        def follow(last: dict[str, str]) -> None:
            going = True
            while going and not self._workspace.closed:
                time.sleep(_REDRAWN)
                with contextlib.suppress(SAEWidgetsError):  # the catalog was closed, or is locked: the card stays
                    going = self._exists() and not self.status.is_final
                    if (now := shown()) != last:
                        view.update(last := now, raw=True)

        threading.Thread(target=follow, args=(first,), name=f"card of {self.id}", daemon=True).start()

    def _facts(self, record: Any) -> dict[str, str]:
        """What its text and its card say between status and error."""
        raise NotImplementedError


class FilesHandle(JobHandle[R]):
    """The handle of an extraction or a capture: one that ends while not running leaves files; `_keeper` tidies up."""

    _keeper: Any

    def resume(self) -> None:
        """Queue it again; it continues from its last checkpoint, with the jobs that shared its work."""
        super().resume()
        self._keeper.helpers.resume(self._job_id)

    def stop(self, save: bool = True) -> None:
        """End early; what was read or captured so far can be used (`save=False`: keep nothing). Raises `StateError` if
        it has already ended."""
        super().stop(save)
        self._keeper.tidy(self.id)

    def cancel(self) -> None:
        """End early and keep nothing new: of a paused one the checkpoint goes, too."""
        super().cancel()
        self._keeper.tidy(self.id)

    def delete(self) -> int:
        """Remove it with its files; labels, and SAEs that were trained from it, stay. Returns the bytes freed."""
        freed: int = self._keeper.delete(self.id)
        return freed
